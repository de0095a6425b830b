import { $, post } from "./base.js";

const form = $("sign-in");
// A link from elsewhere does not bring the cookie along. Our own page does: look whether one is signed in.
const asked = await fetch(form.dataset.next, { redirect: "manual" }).catch(() => null);
if (asked?.ok) location.replace(form.dataset.next);

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  $("wrong").textContent = "";
  try {
    await post(location.pathname, { key: $("key").value });
    location.assign(form.dataset.next);
  } catch (error) {
    $("wrong").textContent = error.message;
    $("key").select();
  }
});
form.dataset.ready = "yes";
