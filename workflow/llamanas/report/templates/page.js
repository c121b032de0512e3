// The page is whole without this. It shows what is known of a network where a point is hovered or focused, and opens
// the table that a point leads to.
const card = document.createElement("div");
card.id = "hover";
card.hidden = true;
document.body.append(card);

function describe(mark, words) {
  const row = document.getElementById((mark.getAttribute("href") || "#").slice(1));
  if (!row) return [words];
  const parts = [...row.children].map((cell) => {
    const line = document.createElement("div");
    const label = cell.dataset.label;
    if (label) line.append(Object.assign(document.createElement("b"), { textContent: `${label} ` }));
    for (const node of cell.childNodes) line.append(node.cloneNode(true));
    return line;
  });
  return parts;
}

function place(mark) {
  const point = mark.getBoundingClientRect();
  const left = Math.min(Math.max(point.left, 8), document.documentElement.clientWidth - card.offsetWidth - 8);
  const above = point.top - card.offsetHeight - 8;
  card.style.left = `${left + scrollX}px`;
  card.style.top = `${(above > 0 ? above : point.bottom + 8) + scrollY}px`;
}

for (const mark of document.querySelectorAll("a.mark")) {
  const title = mark.querySelector("title");
  const words = title.textContent;
  title.remove(); // two of them would show
  mark.setAttribute("aria-label", words);
  const show = () => {
    card.replaceChildren(...describe(mark, words));
    card.hidden = false;
    place(mark);
  };
  const hide = () => { card.hidden = true; };
  for (const event of ["mouseenter", "focus"]) mark.addEventListener(event, show);
  for (const event of ["mouseleave", "blur"]) mark.addEventListener(event, hide);
}

function reveal() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const closed = target && target.closest("details");
  if (!closed) return;
  closed.open = true;
  target.scrollIntoView({ block: "center" });
}
addEventListener("hashchange", reveal);
reveal();
for (const details of document.querySelectorAll("details")) {
  addEventListener("beforeprint", () => { details.open = true; });
}
