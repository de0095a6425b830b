"""The practice model: a small local server that speaks OpenAI's `/v1/responses` and follows rules.

It is no AI and says so in its answers. With it the demo, the examples and a first try need no API key:

    python -m turnkeeper.practice --port 8099        # prints its base URL
    OPENAI_BASE_URL=http://127.0.0.1:8099/v1 OPENAI_API_KEY=practice turnkeeper worker agents

The parts: `wire` (the protocol's objects and events, pure), `rules`, `samples` and `controls` (what is
answered, pure), `local_server` and `transport` (HTTP), `server` (the three together).
"""
