import { adding } from "./act.js";

const first = document.getElementById("first");
adding(document.getElementById("add"), first.dataset.gateway, () => {}, () => location.replace("/"));
