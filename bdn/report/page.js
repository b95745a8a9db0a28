"use strict";
(function page() {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);

  /* Theme: the system's, until the reader chooses. */
  const dark = () => document.documentElement.dataset.theme
    ? document.documentElement.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  const named = () => { byId("theme").textContent = dark() ? "Light" : "Dark"; };
  byId("theme").hidden = false;
  byId("theme").addEventListener("click", () => {
    document.documentElement.dataset.theme = dark() ? "light" : "dark";
    named();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", named);
  if (/theme=dark/.test(location.hash)) document.documentElement.dataset.theme = "dark";
  named();

  /* The sequence diagram. */
  const { sequence, explorer } = data;
  const choice = byId("epoch"), diagram = byId("diagram");
  if (sequence.epochs.length) {
    sequence.epochs.forEach((epoch, i) => choice.append(make("option", { value: i },
      epoch.title + (epoch.view_change ? " (view change)" : ""))));
    const draw = () => {
      const chosen = Number(choice.value);
      const change = drawSequence(diagram, sequence, sequence.epochs[chosen]);
      byId("epoch-before").disabled = chosen === 0;
      byId("epoch-after").disabled = chosen === sequence.epochs.length - 1;
      return change;
    };
    const go = (i, toChange) => {
      choice.value = i;
      const change = draw();
      diagram.scrollTop = toChange ? Math.max(0, change - 12) : 0;
    };
    const changed = sequence.epochs.findIndex((epoch) => epoch.view_change);
    choice.addEventListener("change", () => go(Number(choice.value)));
    byId("epoch-before").addEventListener("click", () => go(Number(choice.value) - 1));
    byId("epoch-after").addEventListener("click", () => go(Number(choice.value) + 1));
    byId("view-change").hidden = changed < 0;
    byId("view-change").addEventListener("click", () => go(changed, true));
    let waiting = 0;
    addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(draw, 120); });
    go(Math.max(sequence.epochs.findIndex((epoch) => epoch.epoch === 1), 0));
    const notes = [];
    if (sequence.hidden) notes.push(`${sequence.hidden} more devices are counted but not drawn.`);
    if (sequence.all > sequence.epochs.length) {
      notes.push(`${sequence.all - sequence.epochs.length} later epochs are left out to keep this `
        + "page small; trace.jsonl has them.");
    }
    byId("diagram-note").textContent = notes.join(" ");
  } else {
    diagram.textContent = "The run has no trace.";
  }

  /* The ledger. */
  const chain = byId("chain"), shown = byId("block");
  const open = (height) => {
    for (const button of chain.children) {
      button.setAttribute("aria-pressed", String(Number(button.dataset.height) === height));
    }
    showBlock(explorer, shown, height);
  };
  explorer.blocks.forEach((block) => chain.append(make("button", {
    type: "button", class: block.kind, "data-height": block.height, "aria-pressed": "false",
    "aria-label": `Block ${block.height}, ${block.kind}`, onclick: () => open(block.height),
  }, String(block.height))));
  const first = explorer.blocks.find((block) => block.kind === "candidate") || explorer.blocks[0];
  open(first.height);

  /* What the browser test asks for: every proof, each refused after a change, and the buttons. */
  if (location.hash === "#self-check") {
    byId("self-check").textContent = JSON.stringify(selfCheck(explorer, shown));
  }

  function selfCheck(blocks, target) {
    const result = { verified: 0, refused: 0, wrong: [], digests: "" };
    for (const block of blocks.blocks) {
      block.transactions.forEach((tx, i) => {
        if (!tx.raw) return;
        if (verifyProof(proofOf(block, i), block).ok) result.verified++;
        else result.wrong.push(`block ${block.height}, transaction ${i} does not verify`);
        for (const part of ["transaction", "receipt", "header", "path", "receiptPath"]) {
          const proof = proofOf(block, i);
          const bytes = part.toLowerCase().endsWith("path") ? proof[part][0] : proof[part];
          if (!bytes) continue;
          bytes[(7 * i + 3) % bytes.length] ^= 1;
          if (verifyProof(proof, block).ok) {
            result.wrong.push(`block ${block.height}, transaction ${i}: changed ${part} passes`);
          } else result.refused++;
        }
      });
    }
    let all = "";
    for (let length = 0; length < 200; length++) {
      all += hex(sha256(Uint8Array.from({ length }, (_, i) => i * 7 + length & 255)));
    }
    result.digests = hex(sha256(text(all)));
    const details = target.querySelector(".tx");
    details.open = true;
    details.dispatchEvent(new Event("toggle"));
    const said = () => details.querySelector(".verdict").textContent;
    result.clicks = [".verify", ".flip", ".restore"].map((name) => {
      details.querySelector(name).click();
      return said();
    });
    result.bands = diagram.querySelectorAll(".band-back").length;
    result.arrows = diagram.querySelectorAll(".arrow").length;
    result.epochs = choice.length;
    return result;
  }
})();
