#!/usr/bin/env bash
# Installs the Debian packages that the tests need: a virtual screen, the libraries of a real Qt window,
# network namespaces, and ImageJ.
# Says what it installs, asks for nothing, does nothing where all is there. Needs root or sudo only if something is missing.
set -euo pipefail

packages=(
  xvfb xauth            # a screen without a monitor
  openbox xdotool       # a window manager on it, and a person's mouse and keys
  libgl1 libegl1        # software OpenGL
  libxkbcommon-x11-0 libdbus-1-3 libfontconfig1 libglib2.0-0
  libxcb-cursor0 libxcb-icccm4 libxcb-keysyms1 libxcb-shape0   # Qt's xcb platform
  iproute2 procps       # several hosts in network namespaces
  libij-java default-jdk-headless   # ImageJ, which reopens exported stacks
)

if ! command -v dpkg-query >/dev/null; then
  echo "not a Debian system: nothing installed; tests that open a window skip where Xvfb and Qt's libraries are missing"
  exit 0
fi

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done
if ((${#missing[@]} == 0)); then
  echo "Debian packages: all there"
  exit 0
fi

as_root=()
if ((EUID != 0)); then
  if ! sudo -n true 2>/dev/null; then
    echo "neither root nor sudo is at hand; tests that open a window will skip without: ${missing[*]}"
    exit 0
  fi
  as_root=(sudo -n)
fi
echo "Debian packages: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
