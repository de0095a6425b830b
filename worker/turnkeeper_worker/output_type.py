"""A typed answer: the schema that the model is held to, and the check of what came. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pydantic import PydanticUserError, TypeAdapter, ValidationError, create_model

from turnkeeper_storage.errors import ConfigurationError, RunFailure
from turnkeeper_storage.items import Json
from turnkeeper_worker.tool_schema import Schema, strict_schema

# The root of a strict schema must be an object: another type travels as its only property.
WRAPPER = "response"


@dataclass(frozen=True, eq=False, slots=True)
class OutputType:
    """What an agent's answer must be: made by `output_type`.

    `text_format` is the `text.format` of a request.
    """

    text_format: dict[str, Json]
    _adapter: TypeAdapter[Any] = field(repr=False)
    _is_wrapped: bool = field(repr=False)

    def parse(self, text: str) -> Json:
        """The answer as plain JSON. Raises RunFailure `output_invalid`, which repeats no content."""
        try:
            value = self._adapter.validate_json(text)
        except ValidationError as error:
            raise RunFailure("output_invalid", _explain(error)) from None
        plain = self._adapter.dump_python(value, mode="json", by_alias=True)
        return plain[WRAPPER] if self._is_wrapped else plain


def output_type(annotation: object, *, agent: str) -> OutputType:
    """The output type of an annotation: a BaseModel, dataclass, TypedDict, `list[…]`, a union, …

    Raises ConfigurationError for one that has no strict JSON schema.
    """
    where = f"agent {agent!r}, output_type"
    form: Any = annotation  # a type of any form: a class, a generic alias, a union
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(form)
        schema = adapter.json_schema()
        is_wrapped = not _is_object(schema)
        if is_wrapped:
            adapter = TypeAdapter(create_model("Output", **{WRAPPER: (form, ...)}))  # type: ignore[call-overload]
            schema = adapter.json_schema()
    except (PydanticUserError, TypeError) as error:
        why = getattr(error, "message", "it is no type").partition("\n")[0]
        raise ConfigurationError(f"{where}: {annotation!r} has no JSON form: {why}") from None
    strict = strict_schema(schema, where=where)
    text_format = {"type": "json_schema", "name": "final_output", "schema": strict, "strict": True}
    return OutputType(text_format, adapter, is_wrapped)


def _is_object(schema: Schema) -> bool:
    target = schema
    while "$ref" in target:
        target = schema["$defs"][str(target["$ref"]).removeprefix("#/$defs/")]
    return target.get("type") == "object"


def _explain(error: ValidationError) -> str:
    faults = error.errors(include_url=False, include_input=False, include_context=False)[:5]
    texts = (f"{'.'.join(map(str, fault['loc'])) or 'the answer'} ({fault['type']})" for fault in faults)
    return "the answer does not fit the agent's output_type: " + ", ".join(texts)
