"use strict";
/* The block explorer. Everything from the ledger goes in as text, never as markup. */

function make(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const key in attributes || {}) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), attributes[key]);
    else element.setAttribute(key, attributes[key]);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

const list = (pairs) => make("dl", {}, ...pairs.flatMap(([name, value]) =>
  [make("dt", {}, name), make("dd", {}, value)]));

function grid(names, rows) {
  return make("div", { class: "scroll", tabindex: "0" }, make("table", {},
    make("thead", {}, make("tr", {}, ...names.map((name) => make("th", { scope: "col" }, name)))),
    make("tbody", {}, ...rows.map((row) => make("tr", {},
      ...row.map((cell, i) => i ? make("td", {}, cell) : make("th", { scope: "row" }, cell)))))));
}

/* Details whose content is made when they are first opened: pages with many blocks stay quick. */
function later(summary, build, attributes) {
  const details = make("details", attributes || {}, summary);
  details.addEventListener("toggle", () => {
    if (details.open && details.childElementCount === 1) details.append(build());
  });
  return details;
}

function showBlock(explorer, target, height) {
  const block = explorer.blocks[height];
  const count = block.transactions.length;
  target.replaceChildren(
    make("h3", {}, `Block ${height}: ${block.kind}, epoch ${block.epoch}, ${block.bytes}`),
    make("p", { class: "note" }, block.seal.text),
    list([["digest", block.digest], ...block.header.map(([name, value]) =>
      [name.replaceAll("_", " "), name === "time" ? timeOf(value) : value]),
      ["size", block.size.map(([what, size]) => `${what} ${size}`).join(" + ")
        .replace(" + total", " = total")]]),
    make("h3", {}, `${count} transaction${count === 1 ? "" : "s"}`),
    ...block.transactions.map((tx, i) => transaction(block, tx, i)),
    changes(block), gasLines(explorer, block));
}

function timeOf(value) {
  const time = new Date(Number(value));
  return isNaN(time) ? value : `${time.toISOString().replace("T", " ").replace("Z", " UTC")}`;
}

function transaction(block, tx, position) {
  const summary = make("summary", {}, make("b", {}, tx.kind), make("span", {}, `from ${tx.sender}`),
    make("span", { class: tx.ok ? "ok" : "no" }, tx.ok ? "ok" : tx.status),
    make("span", { class: "end" }, `${tx.gas.toLocaleString("en")} gas`));
  return later(summary, () => make("div", {},
    tx.error ? make("p", { class: "no" }, tx.error) : null,
    list([...tx.fields, ["nonce", String(tx.nonce)], ["digest", tx.digest],
      ...(tx.blob ? [["beside the block", tx.blob]] : [])]),
    tx.events.length ? make("h4", {}, "Events") : null,
    tx.events.length ? grid(["event", "fields"], tx.events) : null,
    proofPanel(block, tx, position)), { class: "tx" });
}

function changes(block) {
  if (!block.changes.length) return make("p", { class: "note" }, "The state stays as it was.");
  return later(make("summary", {}, `State: ${block.changes.length} entries written`),
    () => grid(["entry", "before", "after"], block.changes.map(([slot, before, after]) =>
      [slot, before || "–", after || "(deleted)"])));
}

function gasLines(explorer, block) {
  const used = block.lines;
  if (!used || !Object.keys(used).length) {
    return make("p", { class: "note" }, explorer.gas_note || "No contract ran.");
  }
  const note = "Bars are logarithmic; lines that did not run are left out. "
    + `${block.calls_gas.toLocaleString("en")} gas more went to the calls, their arguments and results.`;
  return later(make("summary", {}, "Gas by source line of the contracts"), () => make("div", {},
    make("p", { class: "note" }, note),
    ...Object.keys(used).map((name) => source(name, explorer.sources[name] || "", used[name]))));
}

function source(name, code, used) {
  const most = Math.max(...Object.values(used));
  const total = Object.values(used).reduce((a, b) => a + b, 0);
  const rows = [];
  let skipped = 0;
  const lines = code.split("\n");
  const near = (i) => [i, i + 1, i + 2, i + 3, i + 4].some((n) => used[n] !== undefined);
  lines.forEach((line, i) => {
    if (!near(i)) { skipped++; return; }
    if (skipped) rows.push(make("span", { class: "skipped" }, "…"));
    skipped = 0;
    const gas = used[i + 1];
    const cell = make("span", { class: "gas" }, gas === undefined ? "" : gas.toLocaleString("en"));
    const share = gas ? Math.log(1 + gas) / Math.log(1 + most) * 100 : 0;
    cell.style.setProperty("--share", `${share.toFixed(0)}%`);
    rows.push(make("div", {}, cell, make("span", { class: "line" }, String(i + 1)),
      make("code", {}, line)));
  });
  return make("div", {}, make("h4", {}, `${name}.contract: ${total.toLocaleString("en")} gas`),
    make("div", { class: "source", tabindex: "0" }, ...rows));
}

/* The proof of one transaction, with bytes to change. */
function proofPanel(block, tx, position) {
  if (!tx.raw) {
    return make("p", { class: "note" }, "The proof is left out to keep this page small; "
      + "bdn verify checks it.");
  }
  let proof = proofOf(block, position), original = proofOf(block, position);
  const verdict = make("p", { class: "verdict", role: "status" });
  const steps = make("ol", { class: "steps" });
  const part = make("select", { "aria-label": "What to change" },
    make("option", { value: "transaction" }, "the transaction"),
    make("option", { value: "receipt" }, "its receipt"),
    proof.path.length ? make("option", { value: "path" }, "a sibling hash") : null,
    make("option", { value: "header" }, "the header"));
  const dump = make("div", { class: "hex", role: "group",
    "aria-label": "The bytes; click one to change it" });
  const bytes = () => part.value === "path" ? proof.path[0] : proof[part.value];
  const before = () => part.value === "path" ? original.path[0] : original[part.value];
  const show = () => {
    dump.replaceChildren(...Array.from(bytes(), (byte, i) => make("span", {
      class: byte === before()[i] ? "" : "changed", onclick: () => flip(i),
    }, byte.toString(16).padStart(2, "0"))));
  };
  const verify = () => {
    const result = verifyProof(proof, block);
    verdict.className = `verdict ${result.ok ? "ok" : "no"}`;
    verdict.textContent = result.ok
      ? `✓ Verified: transaction ${position} stands in block ${block.height}.`
      : "✗ Refused: these bytes are not what the block holds.";
    steps.replaceChildren(...result.steps.map((step) =>
      make("li", { class: step.ok ? "" : "no" }, step.text)));
  };
  const flip = (i) => { bytes()[i] ^= 1; show(); verify(); };
  part.addEventListener("change", show);
  show();
  return make("div", { class: "proof" }, make("h4", {}, "Inclusion proof (RFC 6962)"),
    make("div", { class: "controls" },
      make("button", { type: "button", class: "main verify", onclick: verify },
        "Verify this inclusion proof"),
      make("button", { type: "button", class: "flip",
        onclick: () => flip(Math.floor(Math.random() * bytes().length)) }, "Flip a byte"),
      make("label", {}, "of ", part),
      make("button", { type: "button", class: "restore",
        onclick: () => { proof = proofOf(block, position); show(); verify(); } }, "Restore")),
    verdict, steps, dump);
}
