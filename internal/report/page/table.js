// Tables can be sorted by their columns, and long ones searched.
"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const value = (row, i) => row.cells[i].dataset.v ?? row.cells[i].textContent.trim();
  table.querySelectorAll("thead th").forEach((th, i) => {
    if (!th.textContent.trim()) return;
    const button = document.createElement("button");
    button.append(...th.childNodes);
    th.append(button);
    button.addEventListener("click", () => {
      const order = th.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
      table.querySelectorAll("thead th").forEach((other) => other.removeAttribute("aria-sort"));
      th.setAttribute("aria-sort", order);
      const rows = [...body.rows].map((row) => ({ row, v: value(row, i) }));
      const numeric = rows.every(({ v }) => v === "" || !isNaN(v));
      const sign = order === "ascending" ? 1 : -1;
      rows.sort((a, b) => {
        if (a.v === "" || b.v === "") return (a.v === "") - (b.v === "");
        return sign * (numeric ? a.v - b.v : a.v.localeCompare(b.v, undefined, { numeric: true }));
      });
      body.append(...rows.map(({ row }) => row));
    });
  });
}
const models = document.getElementById("models");
if (models && models.tBodies[0].rows.length > 8) {
  const input = document.createElement("input");
  input.type = "search";
  input.placeholder = "Filter";
  input.setAttribute("aria-label", "Show the rows that contain these words");
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/);
    for (const row of models.tBodies[0].rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
  });
  models.parentElement.before(input);
}
