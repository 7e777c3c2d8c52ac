"""Options declared once: pydantic models whose fields commands, flows and forms are made from."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, Self, TypeVar, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from volseg.errors import InputError

Result = TypeVar("Result")
MakeParameter = Callable[[str, FieldInfo], inspect.Parameter | None]


class Options(BaseModel):
    """Options of a kind of work; each field has bounds, a default, and a description for people."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def of(cls, **given: Any) -> Self:
        """Make options of values given.

        Raises
        ------
        InputError
            Naming the option, what was given and what is expected.
        """
        try:
            return cls(**given)
        except ValidationError as error:
            first = error.errors()[0]
            name = option(str(first["loc"][0]) if first["loc"] else "")
            raise InputError(f"{name} {first['input']!r}: {first['msg']}") from None


def option(name: str) -> str:
    """Return how a field is spelled on a command line: ``--labels-at``."""
    return "--" + name.replace("_", "-")


def as_declared(name: str, field: FieldInfo) -> inspect.Parameter | None:
    """Return a parameter with the field's type, bounds and default."""
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=field.default,
        annotation=field.rebuild_annotation(),
    )


def flattened(
    make: MakeParameter = as_declared,
) -> Callable[[Callable[..., Result]], Callable[..., Result]]:
    """Give a function the fields of its `Options` parameters, as parameters of its own in their place.

    Parameters
    ----------
    make
        Makes a parameter of a field's name and the field; None leaves the field at its default.

    Returns
    -------
    callable
        A decorator. What it returns takes the fields by name, None meaning the default, and raises `InputError` as
        `Options.of`.
    """

    def decorate(function: Callable[..., Result]) -> Callable[..., Result]:
        hints = get_type_hints(function, include_extras=True)
        models = {name: hint for name, hint in hints.items() if _is_options(hint)}
        parameters = []
        for own in inspect.signature(function).parameters.values():
            if own.name in models:
                fields = models[own.name].model_fields.items()
                parameters += [p for name, field in fields if (p := make(name, field)) is not None]
            else:
                kind = own.kind if not parameters or own.default is own.empty else own.KEYWORD_ONLY
                parameters.append(own.replace(annotation=hints[own.name], kind=kind))

        @functools.wraps(function)
        def call(*positional: Any, **given: Any) -> Result:
            for name, model in models.items():
                fields = {field: given.pop(field, None) for field in model.model_fields}
                given[name] = model.of(**{f: v for f, v in fields.items() if v is not None})
            return function(*positional, **given)

        return with_parameters(call, parameters, hints.get("return", inspect.Signature.empty))

    return decorate


def with_parameters(
    wrapper: Callable[..., Result], parameters: Sequence[inspect.Parameter], result: Any
) -> Callable[..., Result]:
    """Give a wrapper of `functools.wraps` parameters of its own, which typer and Prefect then see; return it."""
    del wrapper.__wrapped__  # type: ignore[attr-defined]  # its signature is not this one's
    wrapper.__signature__ = inspect.Signature(parameters, return_annotation=result)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": result}
    return wrapper


def _is_options(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, Options)
