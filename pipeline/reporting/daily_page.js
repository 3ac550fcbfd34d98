"use strict";
const table = document.querySelector("table.tickers");
if (table) {
  const body = table.tBodies[0], rows = [...body.rows], names = rows.map(row => row.dataset.n.toUpperCase());
  const box = document.getElementById("search"), count = document.getElementById("count");
  const search = () => {
    const words = box.value.toUpperCase().split(/[\s,]+/).filter(Boolean);
    let shown = 0;
    rows.forEach((row, i) => {
      row.hidden = words.length > 0 && !words.some(word => names[i].includes(word));
      shown += row.hidden ? 0 : 1;
    });
    count.textContent = words.length ? `${shown} of ${rows.length} tickers` : "";
  };
  box.addEventListener("input", search);
  box.closest("p").hidden = false;
  table.querySelector(".sorting").hidden = false;

  const value = (row, column) => {
    const text = row.cells[column].dataset.v ?? "";
    return column === 0 ? row.dataset.n : text === "" ? NaN : Number(text);
  };
  const compare = (a, b) => typeof a === "string" ? (a < b ? -1 : a > b ? 1 : 0) : a - b;
  const sort = (head, column) => {
    const down = head.getAttribute("aria-sort") === "ascending";
    const keyed = rows.map(row => [value(row, column), row]);
    keyed.sort(([a], [b]) => Number.isNaN(a) || Number.isNaN(b)
      ? Number.isNaN(a) - Number.isNaN(b) : (down ? -1 : 1) * compare(a, b));
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    body.append(...keyed.map(([, row]) => row));
  };
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    if (!("sort" in head.dataset)) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sort(head, column));
    head.append(button);
  });
}
