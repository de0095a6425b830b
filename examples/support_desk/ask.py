"""What a web backend does with the support desk: two messages at once, in one conversation."""

from __future__ import annotations

from turnkeeper import Client


def main() -> None:
    """Both are accepted at once; the second is worked on when the first is answered, and knows its answer."""
    with Client() as client:
        messages = ["Where are my orders 7 and 8?", "Thanks! And what are your opening hours?"]
        runs = [client.enqueue("customer-ana", text, agent="support") for text in messages]
        for run in runs:
            snapshot = run.wait(timeout=60)
            print(f"{snapshot.status.value}: {snapshot.output or snapshot.error}")
        for item in client.session("customer-ana").get_items():
            print(item)


if __name__ == "__main__":
    main()
