"""What is played: who asks what, the names of things, and how long everything may take."""

from __future__ import annotations

AGENT = "support"
LOG_VARIABLE = "TURNKEEPER_DEMO_LOG"
MODEL_VARIABLE = "TURNKEEPER_DEMO_MODEL"
DEFAULT_MODEL = "gpt-5.2"

# Each customer sends both messages at once. The first asks for a quick look-up and a slow one, so that there
# is a moment at which one is done and the other is not.
MESSAGES = {
    "ana": ("Where are my orders 7 and 8?", "Thanks! And what are your opening hours?"),
    "ben": ("What about orders 15 and 16?", "How much did I ask you so far?"),
    "chloe": ("Please check orders 23 and 24.", "Is order 7 mine, too?"),
    "dev": ("I wait for orders 31 and 32.", "Can I call you? What are your opening hours?"),
}

# The second act: who asks what, and who decides.
STREAMED = ("eva", "Hello! Tell me in two sentences what you can do for me.")
REFUNDS = {"fay": "Please refund order 7, 12.50 EUR.", "gus": "Please refund order 16, 900 EUR."}
BEHIND = ("fay", "Until when can I call you? What are your opening hours?")
APPROVER, NOTE = "ana@shop.example", "checked with the warehouse"
REJECTER, REASON = "ben@shop.example", "over the limit of 500"

# as short as recovery on one machine allows: a killed worker's sessions are free again after a lease
SETTINGS = {
    "TURNKEEPER_LEASE_SECONDS": "5",
    "TURNKEEPER_HEARTBEAT_SECONDS": "1.5",
    "TURNKEEPER_SWEEP_SECONDS": "1",
    "TURNKEEPER_GRACE_SECONDS": "6",
}
QUEUE = "turnkeeper-demo"
PRACTICE_LATENCY = 0.3  # seconds of each answer
PRACTICE_PACE = 0.05  # seconds before each piece of a streamed one

START_SECONDS = 45.0
MIDDLE_SECONDS = 10.0
ANSWER_SECONDS = 60.0
