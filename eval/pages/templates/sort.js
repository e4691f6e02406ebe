"use strict";
for (const table of document.querySelectorAll("table.runs")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  const sort = (column, falling) => {
    const key = (row) => row.cells[column].dataset.key;
    const order = (a, b) => {
      if (!key(a) || !key(b)) return Boolean(key(b)) - Boolean(key(a)); // what was not measured comes last
      const way = key(a).localeCompare(key(b), "en", { numeric: false });
      const [x, y] = [Number(key(a)), Number(key(b))];
      return (Number.isNaN(x - y) ? way : x - y) * (falling ? -1 : 1);
    };
    body.append(...[...body.rows].sort(order));
    heads.forEach((head) => head.removeAttribute("aria-sort"));
    heads[column].setAttribute("aria-sort", falling ? "descending" : "ascending");
  };
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const now = head.getAttribute("aria-sort") || (head.dataset.first === "descending" ? "ascending" : "descending");
    sort(column, now === "ascending");
  }));
}
for (const filter of document.querySelectorAll(".filter")) {
  filter.hidden = false; // without a script there is nothing to press
  filter.addEventListener("click", (event) => {
    const pressed = event.target.closest("button");
    if (!pressed) return;
    for (const button of filter.querySelectorAll("button")) button.setAttribute("aria-pressed", button === pressed);
    for (const row of document.querySelectorAll(".runs tbody tr"))
      row.hidden = pressed.dataset.group !== "" && row.dataset.group !== pressed.dataset.group;
  });
}
