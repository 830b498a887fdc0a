// Tables that sort by a click on a column's arrow, and long ones that filter by words.
"use strict";
(() => {
  const BLANK = /^[–-]?$/;

  const value = (row, column) => {
    const text = row.cells[column].textContent.trim();
    const number = parseFloat(text.replace(/^[≥>]/, ""));
    return { text, number, blank: BLANK.test(text) };
  };

  const order = (a, b, numeric) =>
    numeric ? a.number - b.number : a.text.localeCompare(b.text, "en", { numeric: true });

  function sort(table, head) {
    const column = head.cellIndex;
    const down = head.getAttribute("aria-sort") === "ascending";
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => ({ row, ...value(row, column) }));
    const filled = rows.filter((each) => !each.blank);
    // A word in a column of numbers, such as "failed", is sorted with the blanks.
    const numeric = filled.some((each) => !Number.isNaN(each.number)) && !head.classList.contains("text");
    const last = (each) => each.blank || (numeric && Number.isNaN(each.number));
    rows.sort((a, b) => last(a) - last(b) || (last(a) ? 0 : (down ? -1 : 1) * order(a, b, numeric)));
    for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    body.append(...rows.map((each) => each.row));
  }

  function sortable(table) {
    for (const head of table.tHead.rows[0].cells) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.setAttribute("aria-label", `Sort by ${head.textContent.trim()}`);
      head.append(button);
      head.addEventListener("click", (event) => { if (!event.target.closest("a")) sort(table, head); });
    }
  }

  function filtered(table) {
    let rows = null;
    const read = () => [...table.tBodies[0].rows].map((row) => ({ row, text: row.textContent.toLowerCase() }));
    const bar = document.createElement("label");
    const input = document.createElement("input");
    const found = document.createElement("span");
    bar.className = "filter";
    input.type = "search";
    input.placeholder = "words, such as: synflow";
    found.setAttribute("role", "status");
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let count = 0;
      rows ??= read();
      for (const { row, text } of rows) {
        row.hidden = !words.every((word) => text.includes(word));
        count += !row.hidden;
      }
      found.textContent = words.length ? `${count} of ${rows.length}` : "";
    });
    bar.append("Filter ", input, found);
    table.closest(".scroll").before(bar);
  }

  // Paper cannot be opened.
  const closed = [];
  addEventListener("beforeprint", () => {
    for (const each of document.querySelectorAll("details:not([open])")) { closed.push(each); each.open = true; }
  });
  addEventListener("afterprint", () => { for (const each of closed.splice(0)) each.open = false; });

  document.querySelectorAll("table.sortable").forEach(sortable);
  document.querySelectorAll("table.filtered").forEach(filtered);
})();
