import { $, onRefresh } from "./base.js";
import { follow } from "./follow.js";

const begin = () => {
  const run = $("run").dataset;
  if (run.follow) follow(run.follow, run.after);
};
onRefresh((fresh, before) => {
  // what has streamed in stays until the turn is told
  if (fresh.id === "run") begin(before);
});
begin();
