"""The model client out of the settings."""

from __future__ import annotations

import ssl

from openai import AsyncOpenAI

from turnkeeper_storage.errors import ConfigurationError
from turnkeeper_storage.settings import Settings
from turnkeeper_storage.tls import https_context
from turnkeeper_worker.models.base import Model, ModelError, ModelRequest, ModelResponse, OnDelta
from turnkeeper_worker.models.chat_completions import ChatCompletionsModel
from turnkeeper_worker.models.direct import PlainTransport
from turnkeeper_worker.models.responses import ResponsesModel

_MISSING = (
    "there is no model key; set OPENAI_API_KEY, or OPENAI_BASE_URL for a model server of your own without one"
)


def make_client(settings: Settings, trust: ssl.SSLContext | None = None) -> AsyncOpenAI:
    """A client on the aiohttp transport, without retries of its own. Whoever makes it closes it.

    `trust`: whose certificates it accepts; None: as the settings say.
    Raises ConfigurationError when there is neither a key nor a base URL, or no certificates in the CA file.
    """
    trust = trust or https_context(settings.ca_file)
    key = settings.openai_api_key.get_secret_value() if settings.openai_api_key else ""
    if not key and not settings.openai_base_url:
        raise ConfigurationError(_MISSING)
    return AsyncOpenAI(
        # The client wants a key; a server of one's own without one ignores it.
        api_key=key or "none",
        base_url=settings.openai_base_url,
        max_retries=0,
        timeout=settings.model_timeout,
        http_client=PlainTransport(verify=trust if trust is not None else True),
    )


def make_model(settings: Settings) -> Model:
    """The model of a worker, by `settings.model_api`.

    Without a key the worker lives, and each call fails as `model_key_missing`. Raises ConfigurationError for
    a CA file without certificates.
    """
    trust = https_context(settings.ca_file)
    try:
        client = make_client(settings, trust)
    except ConfigurationError:
        return KeylessModel()
    chat = settings.model_api == "chat_completions"
    return ChatCompletionsModel(client, trust) if chat else ResponsesModel(client, trust)


class KeylessModel:
    """What stands in for a model that cannot be called."""

    async def respond(self, request: ModelRequest, on_delta: OnDelta | None = None) -> ModelResponse:
        raise ModelError("model_key_missing", _MISSING)

    async def aclose(self) -> None:
        """Nothing to close."""
