import { send } from "./act.js";

const form = document.getElementById("sign-in");
const token = document.getElementById("token");
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const told = document.getElementById("sign-in-error");
  told.textContent = "";
  try {
    await send("POST", "/api/v2/admin/session", { token: token.value.trim() });
  } catch (error) {
    told.textContent = `${error.message}.`;
    token.select();
    return;
  }
  token.value = "";
  location.reload();
});
