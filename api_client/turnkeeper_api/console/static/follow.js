// Follows a run: pieces of its answer into an element, and a refresh of the page at each durable event.
import { $, prefix, refresh } from "./base.js";

const DURABLE = ["run.queued", "run.started", "turn.finished", "turn.restarted", "approval.requested",
  "approval.decided"];
const ENDS = ["run.completed", "run.failed", "run.cancelled"];
let source = null;
let followed = null;

export function follow(runId, after = "0", done = () => {}) {
  if (followed === runId) return;
  stop();
  followed = runId;
  source = new EventSource(`${prefix}/runs/${encodeURIComponent(runId)}/events?after=${encodeURIComponent(after)}`);
  const on = (type, act) => source.addEventListener(type, (event) => act(JSON.parse(event.data)));
  on("delta.text", (event) => {
    const place = $("stream");
    place.hidden = false;
    place.append(event.data.text);
  });
  for (const type of DURABLE) {
    on(type, async () => {
      if (type === "turn.finished" || type === "turn.restarted") clear();
      await refresh();
    });
  }
  for (const type of ENDS) {
    on(type, async () => {
      stop();
      await refresh();
      clear();
      done();
    });
  }
}

export function stop() {
  source?.close();
  source = null;
  followed = null;
}

export const isFollowing = () => followed !== null;

function clear() {
  const place = $("stream");
  place.replaceChildren();
  place.hidden = true;
}
