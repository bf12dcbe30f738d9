import { page } from "./pages.js";
import "./style.css";

const app = document.querySelector("#app");
app.textContent = page(window.location.pathname);
