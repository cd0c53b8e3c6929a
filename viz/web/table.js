// The table twin: sorted by any column; a click on a row shows its card in the picture.

function makeSortable(table) {
  all("thead th button", table).forEach((button, column) => button.addEventListener("click", () => {
    const head = button.parentNode;
    const up = head.getAttribute("aria-sort") === "descending" || (!head.hasAttribute("aria-sort") && !head.classList.contains("number"));
    for (const other of all("thead th", table)) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const rows = all("tbody tr", table);
    const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
    rows.sort((a, b) => compare(key(a), key(b), up) || a.dataset.order - b.dataset.order);
    one("tbody", table).append(...rows);
  }));
}

/** Numbers by size, words by the alphabet; what is empty comes last either way. */
function compare(a, b, up) {
  if (a === "" || b === "") return (a === "" ? 1 : 0) - (b === "" ? 1 : 0);
  const [x, y] = [Number(a), Number(b)];
  return (up ? 1 : -1) * (Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b) : x - y);
}
