// Draws one Plotly figure and keeps the drawing while its numbers change; lets a keyboard reach every mark.
//
// Streamlit calls the default export each time the figure's data or the theme change, always with the same parent.

const drawings = new WeakMap(); // by parent element
const LABELLED = 80; // milliseconds after which Plotly has drawn a label; it tells no events of hovers by a script

export default function ({ parentElement, data, setTriggerValue }) {
  if (!drawings.has(parentElement)) drawings.set(parentElement, new Drawing(parentElement));
  const drawing = drawings.get(parentElement);
  drawing.choose = point => data.clickable && setTriggerValue("click", customdata(point));
  drawing.show(data);
  // Streamlit also cleans up after a call that a newer one, on the same parent, has overtaken: the drawing stays then.
  return () => setTimeout(() => parentElement.isConnected || drawing.end());
}

// Plotly's script, once for all figures of the page. Its address names its version, so the copy that a browser has kept
// is always the right one, however old: a reload asks the server for nothing.
function plotly(version) {
  window.headroomPlotly ??= load(new URL(`../headroom.plotly/plotly.min.js?v=${version}`, import.meta.url)).catch(() => {
    window.headroomPlotly = undefined; // the next figure tries again
    throw new Error("the browser could not load plotly.min.js from this app. Reload the page; if it stays so, " +
      "something between the app and the browser blocks scripts");
  });
  return window.headroomPlotly;
}

async function load(address) {
  const reply = await fetch(address, { cache: "force-cache" });
  if (!reply.ok) throw new Error(reply.statusText);
  const script = document.createElement("script");
  script.src = URL.createObjectURL(await reply.blob());
  await new Promise((resolve, reject) => {
    Object.assign(script, { onload: resolve, onerror: reject });
    document.head.append(script);
  });
  URL.revokeObjectURL(script.src);
  return window.Plotly;
}

function customdata({ customdata: given, x, y }) {
  return given === undefined ? [x, y] : Array.isArray(given) ? given : ArrayBuffer.isView(given) ? [...given] : [given];
}

class Drawing {
  constructor(parent) {
    const make = name => Object.assign(document.createElement("div"), { className: name });
    this.host = make("headroom-figure");
    this.plot = make("");
    this.spoken = make("spoken");
    this.spoken.setAttribute("aria-live", "polite");
    this.ring = make("cursor");
    this.ring.hidden = true;
    this.host.append(this.plot, this.spoken, this.ring);
    parent.append(this.host);
    this.at = null; // the mark that the arrow keys have reached: [curve, number]
    this.plot.addEventListener("keydown", event => this.key(event));
    this.plot.addEventListener("blur", () => this.leave());
  }

  async show(data) {
    this.latest = data;
    try {
      const Plotly = await plotly(data.plotly);
      if (this.latest !== data || this.ended) return; // a newer figure came while Plotly loaded
      await this.draw(Plotly, data);
    } catch (error) {
      this.fail(error);
    }
  }

  async draw(Plotly, data) {
    const { data: traces, layout, frames } = JSON.parse(data.figure);
    const fixed = layout.autosize === false, first = !this.plot._fullLayout;
    this.host.classList.toggle("fixed", fixed);
    this.host.querySelector(".failed")?.remove();
    this.plot.hidden = false;
    if (this.config?.responsive !== !fixed) this.config = settings(Plotly, data.name, !fixed);
    await Plotly.react(this.plot, { data: traces, layout: { ...layout, clickmode: "event" },
      config: this.config, frames });
    this.Plotly = Plotly;
    if (first) {
      this.plot.on("plotly_click", event => this.choose(event.points[0]));
      this.plot.on("plotly_hover", () => { if (!this.ring.hidden) this.spoken.textContent = this.label(); });
    }
    this.describe(data);
    if (this.at && document.activeElement === this.plot) this.move(this.marks().find(mark => this.is(mark)));
  }

  describe(data) {
    const reached = this.marks().length > 0, does = data.clickable ? ", Enter chooses one" : "";
    const attributes = reached
      ? { role: "application", "aria-roledescription": "figure", tabindex: "0",
          "aria-label": `${data.says}. The arrow keys step through its values${does}.` }
      : { role: "img", "aria-label": data.says };
    for (const name of ["role", "aria-roledescription", "tabindex", "aria-label"])
      name in attributes ? this.plot.setAttribute(name, attributes[name]) : this.plot.removeAttribute(name);
  }

  fail(error) {
    console.warn(error);
    this.leave();
    this.plot.hidden = true;
    const says = this.host.querySelector(".failed") ?? document.createElement("p");
    says.className = "failed";
    says.setAttribute("role", "alert");
    says.textContent = `This figure could not be drawn: ${error.message}.`;
    this.host.append(says);
  }

  end() {
    this.ended = true;
    if (this.Plotly) this.Plotly.purge(this.plot);
    this.host.remove();
  }

  // By keyboard

  // All marks that have something to say, with their middles and sizes in pixels of the plot.
  marks() {
    const found = [];
    (this.plot._fullData ?? []).forEach((trace, curve) => {
      const points = this.plot.calcdata[curve], [x, y] = [trace.xaxis, trace.yaxis].map(id => axis(this.plot, id));
      if (trace.visible !== true || trace.hoverinfo === "skip" || !x || !y || !points?.[0]) return;
      const add = (number, across, up, w, h, place = { pointNumber: number }) => {
        if (Number.isFinite(across) && Number.isFinite(up) &&
            across > -1 && across < x._length + 1 && up > -1 && up < y._length + 1)
          found.push({ curve, number, x: x._offset + across, y: y._offset + up, w, h, trace, place });
      };
      if (points[0].z && trace.type === "heatmap") {
        const { x: edgesX, y: edgesY, z } = points[0];
        z.forEach((row, r) => row.forEach((value, c) => {
          if (value === undefined || value === null || Number.isNaN(value)) return;
          const [left, right] = [x.c2p(edgesX[c]), x.c2p(edgesX[c + 1])];
          const [low, high] = [y.c2p(edgesY[r]), y.c2p(edgesY[r + 1])];
          // By its middle: of a heatmap Plotly finds no cell by its number.
          const place = { xval: (edgesX[c] + edgesX[c + 1]) / 2, yval: (edgesY[r] + edgesY[r + 1]) / 2 };
          add([r, c], (left + right) / 2, (low + high) / 2, Math.abs(right - left), Math.abs(high - low), place);
        }));
      } else if (trace.type === "bar") {
        points.forEach((point, i) => point.ct && add(i, point.ct[0], point.ct[1], 14, 14));
      } else if (trace.type === "scatter") {
        const sizes = trace.mode?.includes("markers") ? trace.marker.size : 8;
        points.forEach((point, i) => {
          const size = Math.max(8, (ArrayBuffer.isView(sizes) || Array.isArray(sizes) ? sizes[i] : sizes) + 4);
          add(i, x.c2p(point.x), y.c2p(point.y), size, size);
        });
      }
    });
    return found;
  }

  is(mark) {
    return mark.curve === this.at[0] && String(mark.number) === String(this.at[1]);
  }

  key(event) {
    if (event.target !== this.plot || event.ctrlKey || event.metaKey || event.altKey) return;
    const marks = this.marks(), at = this.at && marks.find(mark => this.is(mark));
    if (event.key === "Escape") return this.leave();
    if (event.key === "Enter" || event.key === " ") {
      if (!at) return;
      event.preventDefault();
      this.choose({ customdata: entry(at.trace.customdata, at.number) ?? [at.number].flat() });
      return;
    }
    const next = step(marks, at, event.key);
    if (next === undefined) return;
    event.preventDefault();
    if (next) this.move(next);
  }

  // Shows the cursor on a mark and its label; once that is drawn, a screen reader says it.
  move(mark) {
    if (!mark) return this.leave();
    this.at = [mark.curve, mark.number];
    const { style } = this.ring;
    style.left = `${mark.x - mark.w / 2}px`;
    style.top = `${mark.y - mark.h / 2}px`;
    style.width = `${mark.w}px`;
    style.height = `${mark.h}px`;
    this.ring.hidden = false;
    this.Plotly.Fx.hover(this.plot, [{ curveNumber: mark.curve, ...mark.place }]);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.plot.emit("plotly_hover", { points: this.plot._hoverdata ?? [] }), LABELLED);
  }

  label() {
    const lines = [...this.plot.querySelectorAll(".hoverlayer text")].flatMap(text => {
      const parts = [...text.querySelectorAll("tspan.line")];
      return parts.length ? parts.map(part => part.textContent) : [text.textContent];
    });
    return lines.filter(Boolean).join(", ");
  }

  leave() {
    if (this.ring.hidden) return;
    this.ring.hidden = true;
    clearTimeout(this.timer);
    this.Plotly.Fx.unhover(this.plot);
    this.plot.emit("plotly_unhover", { points: [] });
  }
}

function axis(plot, id) {
  return id && plot._fullLayout[`${id[0]}axis${id.slice(1)}`];
}

function entry(list, number) {
  const found = list && (Array.isArray(number) ? list[number[0]]?.[number[1]] : list[number]);
  return ArrayBuffer.isView(found) ? [...found] : found;
}

// The mark that a key leads to from another one; undefined for a key that leads nowhere, null at the border.
function step(marks, at, key) {
  const reading = (a, b) => a.y - b.y || a.x - b.x;
  const toward = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[key];
  const along = { Home: 0, End: -1, PageDown: 1, PageUp: -1 }[key];
  if (!toward && along === undefined) return undefined;
  if (!marks.length) return null;
  const sorted = [...marks].sort(reading);
  if (key === "Home" || key === "End") return sorted.at(along);
  if (!at) return sorted[0];
  if (!toward) return sorted[sorted.indexOf(at) + along] ?? null;
  const onward = at.trace.mode?.includes("lines") && toward[0] !== 0; // left and right: one point after the other
  let best = null, least = Infinity;
  for (const mark of marks) {
    const dx = mark.x - at.x, dy = mark.y - at.y, same = mark.curve === at.curve;
    const ahead = dx * toward[0] + dy * toward[1], aside = Math.abs(dx * toward[1]) + Math.abs(dy * toward[0]);
    const far = onward ? (same ? ahead : Infinity) : ahead + 2 * aside + (same ? 0 : 0.5);
    if (ahead > (onward ? 0 : 0.5) && far < least) [best, least] = [mark, far];
  }
  return best;
}

// Made once for a drawing: settings with other functions in them are other settings, with which Plotly begins anew.
function settings(Plotly, name, responsive) {
  return {
    responsive,
    displaylogo: false,
    displayModeBar: true, // the style sheet shows it to a pointer and to the keyboard
    scrollZoom: false,
    modeBarButtons: [[picture(Plotly, name, "svg"), picture(Plotly, name, "png")]],
  };
}

// A button of the figure's menu that saves it as a picture, on the page's background.
function picture(Plotly, name, format) {
  return {
    name: format,
    title: `Save as ${format.toUpperCase()}`,
    icon: format === "svg" ? Plotly.Icons.camera : Plotly.Icons.disk,
    click: plot => {
      const colour = getComputedStyle(plot).getPropertyValue("--st-background-color").trim() || "#fff";
      const { width, height } = plot._fullLayout;
      return Plotly.downloadImage({ data: plot.data, layout: { ...plot.layout, paper_bgcolor: colour } },
        { format, width, height, scale: format === "png" ? 2 : 1, filename: name });
    },
  };
}
