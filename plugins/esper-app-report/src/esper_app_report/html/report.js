for (const chart of document.querySelectorAll("svg[data-x]")) {
  const places = chart.dataset.x.split(",").map(Number), epochs = chart.dataset.epochs.split(",");
  const lines = [...chart.querySelectorAll(".line")].map(line => [line.dataset.title, line.dataset.y.split("|")]);
  const cursor = chart.querySelector(".cursor");
  chart.addEventListener("pointermove", event => {
    const box = chart.getBoundingClientRect(), x = (event.clientX - box.left) * 360 / box.width;
    let best = 0;
    places.forEach((place, index) => { if (Math.abs(place - x) < Math.abs(places[best] - x)) best = index; });
    cursor.setAttribute("x1", places[best]);
    cursor.setAttribute("x2", places[best]);
    cursor.style.visibility = "visible";
    const words = lines.filter(line => line[1][best]).map(line => line[0] + ": " + line[1][best]);
    show(["epoch " + epochs[best], ...words].join("\n"), event.clientX, event.clientY);
  });
  chart.addEventListener("pointerleave", () => { cursor.style.visibility = "hidden"; hide(); });
}
let closed = [];
addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details:not([open])")];
  for (const part of closed) part.open = true;
});
addEventListener("afterprint", () => { for (const part of closed) part.open = false; });
