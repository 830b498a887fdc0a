// Charts, drawn by Vega when they come into view; the library is loaded once there is something to draw.
"use strict";
(() => {
  const root = document.body.dataset.root;
  let library = null;

  const script = (name) => new Promise((resolve, reject) => {
    const element = document.createElement("script");
    element.src = `${root}assets/${name}`;
    element.onload = resolve;
    element.onerror = () => reject(new Error(`cannot load ${name}`));
    document.head.append(element);
  });

  // A single page contains the library.
  const load = () => (library ??= window.vegaEmbed ? Promise.resolve() : Promise.all([script("vega.js"), script("charts.js")]));

  // Charts of rows bring their own specification, others the name of a shared one.
  const SHARED = new Set(["layers", "accuracies", "losses"]);
  const hasRows = (figure) => !SHARED.has(figure.dataset.chart);

  function specification(figure) {
    const payload = JSON.parse(figure.querySelector("script").textContent);
    const { title, ...spec } = hasRows(figure) ? payload : { ...window.synflowBenchCharts[figure.dataset.chart], datasets: { values: payload } };
    return { ...spec, background: "transparent", autosize: { type: "fit-x", contains: "padding" } };
  }

  async function draw(figure) {
    await load();
    const options = { actions: false, renderer: "svg", tooltip: { disableDefaultStyle: true }, config: { padding: 4 } };
    const { view } = await window.vegaEmbed(figure.querySelector(".plot"), specification(figure), options);
    connect(figure, view);
    figure.dataset.drawn = "";
  }

  // The rows that the reader has chosen, on the whole page and in its address: #row=snip&row=synflow.
  const picked = new Set();
  const listeners = [];

  function tell() {
    for (const each of document.querySelectorAll("[data-row]")) each.classList.toggle("picked", picked.has(each.dataset.row));
    for (const listener of listeners) listener();
  }

  function pick(change) {
    change();
    const rows = new URLSearchParams([...picked].map((row) => ["row", row]));
    history.replaceState(null, "", picked.size ? `#${rows}` : location.pathname + location.search);
    tell();
  }

  const turn = (row) => pick(() => { if (!picked.delete(row)) picked.add(row); });

  function read() {
    picked.clear();
    if (location.hash.startsWith("#row=")) {
      for (const row of new URLSearchParams(location.hash.slice(1)).getAll("row")) picked.add(row);
    }
    tell();
  }

  for (const row of document.querySelectorAll("tr[data-row]")) {
    row.addEventListener("click", (event) => {
      if (!event.target.closest("a, button") && getSelection().isCollapsed) turn(row.dataset.row);
    });
  }
  addEventListener("hashchange", read);
  read();

  function connect(figure, view) {
    // A chart without a legend of its own follows the one of its board.
    const own = figure.querySelector(".legend");
    const legend = own ?? (figure.dataset.chart === "cost" ? figure.closest("section, main").querySelector(".legend") : null);
    const boxes = [...(legend?.querySelectorAll("input") ?? [])];
    const show = () => view.signal("shown", boxes.filter((box) => box.checked).map((box) => box.value)).runAsync();
    legend?.addEventListener("shown", show);
    if (own) {
      boxes.forEach((box) => box.addEventListener("change", () => {
        pick(() => { if (box.checked) picked.add(box.value); else picked.delete(box.value); });
        own.dispatchEvent(new Event("shown"));
      }));
    }
    if (own && boxes.length > 2) {
      for (const [name, checked] of [["all", true], ["none", false]]) {
        const button = document.createElement("button");
        button.type = "button";
        button.textContent = name;
        button.addEventListener("click", () => {
          boxes.forEach((box) => { box.checked = checked; });
          pick(() => picked.clear());
          own.dispatchEvent(new Event("shown"));
        });
        own.append(button);
      }
    }
    // A radio button sets a parameter of the chart: a budget is a number, 0 for any, the others are names.
    const value = (name, text) => (name === "budget" ? Number(text) : text);
    for (const choice of figure.querySelectorAll("[data-signal]")) {
      const { signal } = choice.dataset;
      const set = (radio) => radio.checked && view.signal(signal, value(signal, radio.value)).runAsync();
      for (const radio of choice.querySelectorAll("input")) {
        radio.addEventListener("change", () => set(radio));
        // A browser may restore the choice after a reload.
        if (!radio.defaultChecked) set(radio);
      }
    }
    if (boxes.some((box) => !box.checked)) show();
    if (!hasRows(figure)) return;
    const highlight = () => view.signal("picked", [...picked]).runAsync();
    listeners.push(highlight);
    if (picked.size) highlight();
    view.addEventListener("click", (_, item) => { if (item?.datum?.row) turn(item.datum.row); });
  }

  const seen = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      seen.unobserve(target);
      draw(target).catch((error) => console.error(error));
    }
  }, { rootMargin: "300px" });

  for (const figure of document.querySelectorAll("figure.chart")) {
    figure.hidden = false;
    seen.observe(figure);
  }
})();
