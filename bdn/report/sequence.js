"use strict";
/* The sequence diagram of one epoch: bands of boxes (work) and of slanted arrows (messages). */

const SVG = "http://www.w3.org/2000/svg";

function svg(parent, name, attributes, content) {
  const element = document.createElementNS(SVG, name);
  for (const key in attributes) element.setAttribute(key, attributes[key]);
  if (content !== undefined) element.textContent = content;
  parent.append(element);
  return element;
}

const bytesText = (n) => n < 1000 ? `${n} B` : n < 1e6 ? `${(n / 1e3).toFixed(n < 1e4 ? 1 : 0)} kB`
  : `${(n / 1e6).toFixed(n < 1e7 ? 2 : 1)} MB`;
const timeText = (ms) => ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(2)} s`;

/* Draw into target; returns how far down the view change stands, 0 where there is none. */
function drawSequence(target, sequence, epoch) {
  const scroll = target.scrollLeft;
  target.replaceChildren();
  const zoom = parseFloat(getComputedStyle(document.documentElement).fontSize) / 16;
  const lanes = sequence.lanes;
  const width = Math.max((target.clientWidth - 2) / zoom, 24 + lanes.length * 34);
  const narrow = width < 480;
  target.classList.toggle("narrow", narrow);
  const sized = (height) => ({ width: width * zoom, height: height * zoom,
    viewBox: `0 0 ${width} ${height}` });
  const gap = (width - 24) / lanes.length;
  const x = (lane) => 12 + gap * (lane + 0.5);
  const head = svg(target, "svg", { class: "lanes", ...sized(30) });
  const shown = (name) => gap < 50 ? name.replace("device-", "d").replace("edge-", "e")
    : gap < 72 ? name.replace("device-", "dev ").replace("edge-", "edge ") : name;
  lanes.forEach((name, i) => svg(head, "text", { class: "lane-name", x: x(i), y: 20 },
    shown(name)));
  const body = svg(target, "svg", { role: "img", "aria-label": spoken(epoch) });
  const back = svg(body, "g", {});
  let y = 8, change = 0;
  for (const band of epoch.bands) {
    if (band.label === "VIEW-CHANGE") change = change || y;
    y = band.kind === "mark" ? drawMark(body, band, y, width, narrow)
      : drawBand(body, band, y, width, x, gap, narrow);
  }
  lanes.forEach((_, i) => svg(back, "line", { class: "lane", x1: x(i), x2: x(i), y1: 0, y2: y }));
  Object.entries(sized(y + 6)).forEach(([name, value]) => body.setAttribute(name, value));
  target.scrollLeft = scroll;
  return change * zoom;
}

function drawMark(body, band, y, width, narrow) {
  svg(body, "rect", { class: "mark-back", x: 8, y, width: width - 16, height: 24, rx: 6 });
  svg(body, "text", { class: "mark-name", x: 18, y: y + 16.5 },
    narrow ? band.label : `${band.label}, +${timeText(band.at)}`);
  return y + 34;
}

function drawBand(body, band, y, width, x, gap, narrow) {
  svg(body, "rect", { class: "band-back", x: 8, y, width: width - 16, height: narrow ? 38 : 22,
    rx: 5 });
  const title = svg(body, "text", { class: "band-name", x: 18, y: y + 15.5 }, band.label);
  const many = band.kind === "work" ? `${band.count}×${narrow ? ", in ms" : ""}`
    : `${band.count} message${band.count === 1 ? "" : "s"}, ${bytesText(band.bytes)}`;
  const place = narrow ? { x: 18, dy: 15 } : { dx: 10 };
  const more = svg(title, "tspan", { class: "band-more", ...place },
    `${many}, +${timeText(band.at)}`);
  more.setAttribute("font-weight", "400");
  y += narrow ? 43 : 27;
  if (band.kind === "work") return drawWork(body, band, y, x, gap, narrow);
  const span = band.until - band.at || 1;
  const stagger = band.until === band.at ? 0 : Math.min(7 * Math.max(0, band.items.length - 1), 42);
  const slope = Math.max(26, Math.min(46, gap * 0.32));
  for (const [at, source, goal, size, lost] of band.items) {
    drawArrow(body, band, x(source), x(goal), y + (at - band.at) / span * stagger, slope, size, lost,
      at);
  }
  return y + stagger + slope + 12;
}

function drawWork(body, band, y, x, gap, narrow) {
  const wide = Math.min(gap - 4, 78);
  const rows = new Map();
  let bottom = y + 22;
  for (const [lane, at, seconds] of band.items) {
    const row = rows.get(lane) || 0;
    rows.set(lane, row + 1);
    const top = y + row * 25;
    const box = svg(body, "rect", { class: "box", x: x(lane) - wide / 2, y: top, width: wide,
      height: 21, rx: 4 });
    svg(box, "title", {}, `starts at +${timeText(at)}, takes ${timeText(seconds * 1000)}`);
    svg(body, "text", { class: "box-text", x: x(lane), y: top + 14.5 },
      narrow ? String(Math.round(seconds * 1000)) : timeText(seconds * 1000));
    bottom = Math.max(bottom, top + 22);
  }
  return bottom + 11;
}

function drawArrow(body, band, x1, x2, y1, slope, size, lost, at) {
  const vote = band.kind === "vote" ? " vote" : "";
  const width = size >= 1e6 ? 2.8 : size >= 1e5 ? 2 : 1.1;
  const share = lost ? 0.6 : 1;
  const ex = x1 + (x2 - x1) * share, ey = y1 + slope * share;
  const line = svg(body, "line", { class: `arrow${vote}${lost ? " lost" : ""}`, x1, y1, x2: ex,
    y2: ey, "stroke-width": width, opacity: band.items.length > 12 ? 0.75 : 0.95 });
  svg(line, "title", {}, `${bytesText(size)} at +${timeText(at)}${lost ? ", lost" : ""}`);
  if (lost) {
    svg(body, "path", { class: "cross", d: `M${ex - 4},${ey - 4}l8,8m0,-8l-8,8` });
    return;
  }
  const angle = Math.atan2(ey - y1, ex - x1), long = 7 + width;
  const corner = (turn) => `${ex - long * Math.cos(angle + turn)},${ey - long * Math.sin(angle + turn)}`;
  svg(body, "polygon", { class: `head${vote}`, points: `${ex},${ey} ${corner(0.38)} ${corner(-0.38)}` });
}

function spoken(epoch) {
  return `${epoch.title}: ` + epoch.bands.map((band) => band.kind === "mark" ? band.label
    : `${band.label} (${band.count})`).join("; ");
}
