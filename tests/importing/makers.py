"""Small files as microscopes write them, laid out by hand after the formats' descriptions: LIF (2) and ND2 (2.0)."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np


def write_lif(
    path: Path, series: dict[str, np.ndarray], size_um: tuple[float, float, float]
) -> Path:
    """Write images (c, z, y, x) of uint8 or uint16, by name."""
    elements, blocks = [], b""
    for number, (name, data) in enumerate(series.items()):
        n_channels, depth, height, width = data.shape
        item = data.itemsize
        plane = height * width * item
        channels = "".join(
            f'<ChannelDescription DataType="0" ChannelTag="0" Resolution="{8 * item}" NameOfMeasuredQuantity="" '
            f'Min="0" Max="255" Unit="" LUTName="Green" IsLUTInverted="0" BytesInc="{c * plane}" BitInc="0"/>'
            for c in range(n_channels)
        )
        dimensions = "".join(
            f'<DimensionDescription DimID="{axis}" NumberOfElements="{n}" Origin="0" '
            f'Length="{(n - 1) * size * 1e-6}" Unit="m" BitInc="0" BytesInc="{step}"/>'
            for axis, n, size, step in (
                (1, width, size_um[2], item),
                (2, height, size_um[1], width * item),
                (3, depth, size_um[0], n_channels * plane),
            )
        )
        elements.append(
            f'<Element Name="{name}" Visibility="1" UniqueID="{number}"><Data><Image><ImageDescription>'
            f"<Channels>{channels}</Channels><Dimensions>{dimensions}</Dimensions></ImageDescription></Image></Data>"
            f'<Memory Size="{data.nbytes}" MemoryBlockID="MemBlock_{number}"/><Children/></Element>'
        )
        title = f"MemBlock_{number}".encode("utf-16-le")
        head = struct.pack("<BQBi", 0x2A, data.nbytes, 0x2A, len(title) // 2) + title
        stored = np.ascontiguousarray(data.transpose(1, 0, 2, 3)).tobytes()
        blocks += struct.pack("<ii", 0x70, len(head)) + head + stored
    text = (
        '<LMSDataContainerHeader Version="2"><Element Name="project" UniqueID="p"><Data><Experiment/></Data>'
        f'<Memory Size="0" MemoryBlockID="none"/><Children>{"".join(elements)}</Children></Element>'
        "</LMSDataContainerHeader>"
    ).encode("utf-16-le")
    head = struct.pack("<Bi", 0x2A, len(text) // 2) + text
    path.write_bytes(struct.pack("<ii", 0x70, len(head)) + head + blocks)
    return path


def write_nd2(path: Path, data: np.ndarray, size_um: tuple[float, float, float]) -> Path:
    """Write an image (z, y, x) of uint16."""
    depth, height, width = data.shape
    attributes = {
        "uiWidth": width, "uiWidthBytes": 2 * width, "uiHeight": height, "uiComp": 1, "uiBpcInMemory": 16,
        "uiBpcSignificant": 16, "uiSequenceCount": depth, "eCompression": 2,
    }  # fmt: skip
    peak = {"uiCount": 1, "pPoint": {"Point0": {"eType": 1, "dWavelength": 405.0, "dTValue": 1.0}}}
    probe = {"m_ExcitationSpectrum": peak, "m_EmissionSpectrum": peak}
    plane = {
        "uiCompCount": 1,
        "sDescription": "DAPI",
        "uiSampleIndex": 0,
        "pFluorescentProbe": probe,
    }
    metadata = {
        "bCalibrated": True, "dCalibration": size_um[2], "sPicturePlanes": {"uiCount": 1, "sPlane": {"a0": plane}},
    }  # fmt: skip
    loop = {
        "uiCount": depth,
        "dZStep": size_um[0],
        "dZLow": 0.0,
        "dZHigh": size_um[0] * (depth - 1),
    }
    experiment = {"eType": 4, "uLoopPars": loop, "ppNextLevelEx": {}}
    chunks = {
        "ImageAttributes!": _xml(attributes),
        "ImageMetadataSeq|0!": _xml(metadata),
        "ImageMetadata!": _xml(experiment),
        "CustomData|AcqTimesCache!": np.arange(depth, dtype=np.float64).tobytes(),
    }
    for z in range(depth):
        chunks[f"ImageDataSeq|{z}!"] = struct.pack("<d", z) + data[z].astype("<u2").tobytes()
    signature = b"ND2 FILE SIGNATURE CHUNK NAME01!"
    out = bytearray(
        struct.pack("<IIQ", 0x0ABECEDA, 32, 64) + signature + b"Ver2.0".ljust(64, b"\0")
    )
    table = b""
    for name, content in chunks.items():
        out += bytes(-len(out) % 4096)
        table += name.encode() + struct.pack("<QQ", len(out), len(content))
        out += (
            struct.pack("<IIQ", 0x0ABECEDA, 4072, len(content))
            + name.encode().ljust(4072, b"\0")
            + content
        )
    out += bytes(-len(out) % 4096)
    place = len(out)
    table += b"ND2 CHUNK MAP SIGNATURE 0000001!" + struct.pack("<Q", place)
    title = b"ND2 FILEMAP SIGNATURE NAME 0001!"
    out += struct.pack("<IIQ", 0x0ABECEDA, 32, len(table)) + title + table
    path.write_bytes(out)
    return path


def _xml(content: dict) -> bytes:
    def node(name: str, value: object) -> str:
        if isinstance(value, dict):
            inner = "".join(node(key, one) for key, one in value.items())
            return f'<{name} runtype="CLxListVariant">{inner}</{name}>'
        kind = {bool: "bool", int: "lx_uint32", float: "double", str: "CLxStringW"}[type(value)]
        return (
            f'<{name} runtype="{kind}" value="{str(value).lower() if value is True else value}"/>'
        )

    return f'<variant version="1.0">{node("no_name", content)}</variant>'.encode()
