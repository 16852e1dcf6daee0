// Tables are sorted by a click on a heading, or by its key; a second one turns the order round.
"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const rows = [...table.tBodies[0].rows];
    const keys = new Map(rows.map((row) => [row, row.cells[column].dataset.sort]));
    const known = [...keys.values()].filter((key) => key !== "");
    const numeric = known.length > 0 && known.every((key) => Number.isFinite(Number(key)));
    const was = head.getAttribute("aria-sort");
    const descending = was === "none" ? numeric : was === "ascending";
    const order = (a, b) => {
      const [one, two] = [keys.get(a), keys.get(b)];
      if (one === "" || two === "") return (one === "") - (two === "");
      const found = numeric ? one - two : one.localeCompare(two);
      return descending ? -found : found;
    };
    table.tBodies[0].append(...rows.sort(order));
    heads.forEach((each) => each.setAttribute("aria-sort", "none"));
    head.setAttribute("aria-sort", descending ? "descending" : "ascending");
  }));
}
