"use strict";
/* SHA-256 (FIPS 180-4) and the inclusion proofs of RFC 6962 / RFC 9162. Written out, because pages
   opened from a file have no crypto.subtle in some browsers; a test compares it with hashlib. */

const ROUNDS = [];
const START = [];
(function constants() {
  /* The first 32 fractional bits of the cube and square roots of the first primes, computed exactly. */
  const primes = [];
  for (let n = 2; primes.length < 64; n++) {
    if (primes.every((p) => n % p)) primes.push(n);
  }
  const root = (n, degree) => {
    let low = 0n, high = 1n << 40n;
    const target = BigInt(n) << BigInt(32 * degree);
    while (high - low > 1n) {
      const middle = (low + high) / 2n;
      if (middle ** BigInt(degree) <= target) low = middle; else high = middle;
    }
    return Number(low & 0xffffffffn) | 0;
  };
  primes.forEach((p, i) => { ROUNDS.push(root(p, 3)); if (i < 8) START.push(root(p, 2)); });
})();

function sha256(bytes) {
  const length = bytes.length;
  const padded = new Uint8Array(((length + 8 >> 6) + 1) * 64);
  padded.set(bytes);
  padded[length] = 0x80;
  const view = new DataView(padded.buffer);
  view.setUint32(padded.length - 8, Math.floor(length / 0x20000000));
  view.setUint32(padded.length - 4, length << 3);
  const state = START.slice(), w = new Int32Array(64);
  const turn = (x, n) => x >>> n | x << 32 - n;
  for (let at = 0; at < padded.length; at += 64) {
    for (let i = 0; i < 64; i++) {
      if (i < 16) { w[i] = view.getInt32(at + 4 * i); continue; }
      const x = w[i - 15], y = w[i - 2];
      w[i] = w[i - 16] + w[i - 7] + (turn(x, 7) ^ turn(x, 18) ^ x >>> 3)
        + (turn(y, 17) ^ turn(y, 19) ^ y >>> 10);
    }
    let [a, b, c, d, e, f, g, h] = state;
    for (let i = 0; i < 64; i++) {
      const one = h + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + (e & f ^ ~e & g)
        + ROUNDS[i] + w[i] | 0;
      const two = (turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + (a & b ^ a & c ^ b & c) | 0;
      h = g; g = f; f = e; e = d + one | 0; d = c; c = b; b = a; a = one + two | 0;
    }
    [a, b, c, d, e, f, g, h].forEach((x, i) => { state[i] = state[i] + x | 0; });
  }
  const out = new Uint8Array(32);
  state.forEach((x, i) => new DataView(out.buffer).setInt32(4 * i, x));
  return out;
}

const joined = (...parts) => {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) { out.set(part, at); at += part.length; }
  return out;
};
const hex = (bytes) => Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");
const fromBase64 = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const text = (string) => new TextEncoder().encode(string);
const leafHash = (data) => sha256(joined(Uint8Array.of(0), data));
const nodeHash = (left, right) => sha256(joined(Uint8Array.of(1), left, right));

/* RFC 9162, section 2.1.3.2: the root that a path leads to, with what was hashed on the way. */
function climb(leaf, index, size, path) {
  let fn = index, sn = size - 1, hash = leaf;
  const steps = [];
  for (const sibling of path) {
    if (sn === 0) throw new Error("the path is too long");
    const left = fn & 1 || fn === sn;
    hash = left ? nodeHash(sibling, hash) : nodeHash(hash, sibling);
    steps.push(`with its ${left ? "left" : "right"} sibling ${hex(sibling).slice(0, 16)}… → `
      + `${hex(hash).slice(0, 16)}…`);
    if (left) while (fn && !(fn & 1)) { fn >>= 1; sn >>= 1; }
    fn >>= 1; sn >>= 1;
  }
  if (sn) throw new Error("the path is too short");
  return { hash, steps };
}

/* bdn.encoding.digest: SHA-256 over parts that are each preceded by their length. */
function domainDigest(domain, data) {
  const framed = (part) => {
    const head = new Uint8Array(8);
    new DataView(head.buffer).setUint32(4, part.length);
    return joined(head, part);
  };
  return sha256(joined(framed(text(domain)), framed(data)));
}

/* The parts of a proof as bytes that may be tampered with. */
function proofOf(block, position) {
  const tx = block.transactions[position];
  return {
    position, size: block.transactions.length,
    transaction: fromBase64(tx.raw), receipt: fromBase64(tx.receipt_raw),
    header: fromBase64(block.raw),
    path: tx.path.map(fromBase64), receiptPath: tx.receipt_path.map(fromBase64),
  };
}

/* Verify a proof against a block's digest: {ok, steps}, the last step saying what failed. */
function verifyProof(proof, block) {
  const steps = [];
  const check = (what, found, wanted) => {
    const ok = found === wanted;
    steps.push({ ok, text: `${what} ${found.slice(0, 16)}… ${ok ? "=" : "≠"} ${wanted.slice(0, 16)}…` });
    return ok;
  };
  let ok = true;
  for (const [what, leaf, path, root] of [
    ["transaction", proof.transaction, proof.path, block.roots[0]],
    ["receipt", proof.receipt, proof.receiptPath, block.roots[1]],
  ]) {
    const start = leafHash(leaf);
    steps.push({ ok: true, text: `${what}: leaf SHA-256(0x00 ‖ ${leaf.length} bytes) = `
      + `${hex(start).slice(0, 16)}…` });
    const { hash, steps: way } = climb(start, proof.position, proof.size, path);
    way.forEach((line) => steps.push({ ok: true, text: line }));
    ok = check(`${what}s root: computed`, hex(hash), root) && ok;
    const stands = hex(proof.header).includes(root);
    if (!stands) steps.push({ ok: false, text: `the header does not hold that root` });
    ok = ok && stands;
  }
  ok = check("header: digest", hex(domainDigest("bdn/header", proof.header)), block.digest) && ok;
  return { ok, steps };
}
