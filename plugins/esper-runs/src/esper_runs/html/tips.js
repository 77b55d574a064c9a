"use strict";
const tip = document.getElementById("tip");
function show(words, x, y) {
  tip.textContent = words;
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  const left = Math.max(4, Math.min(x + 14, innerWidth - box.width - 4));
  const top = y + 18 + box.height > innerHeight ? y - box.height - 10 : y + 18;
  tip.style.left = left + "px";
  tip.style.top = Math.max(4, top) + "px";
}
function hide() { tip.hidden = true; }
function marked(event) { return event.target.closest(".mark, .dot"); }
addEventListener("pointermove", event => {
  const mark = marked(event);
  if (mark) show(mark.getAttribute("aria-label"), event.clientX, event.clientY);
});
addEventListener("pointerout", event => { if (marked(event)) hide(); });
addEventListener("focusin", event => {
  const mark = marked(event);
  if (mark) { const box = mark.getBoundingClientRect(); show(mark.getAttribute("aria-label"), box.right, box.bottom); }
});
addEventListener("focusout", event => { if (marked(event)) hide(); });
addEventListener("keydown", event => { if (event.key === "Escape") hide(); });
