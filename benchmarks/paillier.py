"""What threshold Paillier costs, compared with phe, damgard-jurik and sf-heu.

Run ``python benchmarks/paillier.py [--quick] [--json FILE] [--plot FILE.svg]``. Ratios are those of
medians taken in alternation in one run. Sealing whole vectors of floats: ``benchmarks/sealing.py``.
"""

import importlib
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gmpy2
import harness
from gmpy2 import mpz

from bdn.paillier import batch, deal, generate_jointly, threshold
from bdn.paillier.keys import PublicKey, djn_table
from bdn.paillier.numbers import power_each, safe_prime
from bdn.paillier.threshold import KeyShare, combine, open_shares
from bdn.randomness import SeededRandomness

TOPIC = "Threshold Paillier"
PEERS = ("phe", "damgard-jurik", "sf-heu")
BITS = 2048
TNO = "tno.mpc.protocols.distributed-keygen"
PHE_ENCRYPTIONS = 8


def measure(report: harness.Report) -> None:
    """All six points."""
    key, shares = deal(5, 3, BITS, SeededRandomness(b"benchmark"))
    single_encryption(report, key)
    partial_decryption(report, key, shares[0])
    weighted_product(report, key)
    share_proofs(report, key, shares[0])
    plaintext_proofs(report, key)
    keys(report)
    bare_multiplications(report, key, shares[0])
    table(report)


def point(report: harness.Report, number: str, what: str, ours: Any, other: Any,
          ratio: float, wanted: str) -> None:  # fmt: skip
    """One row of the issue's list of points."""
    report.add(point=number, what=what, ours=ours, beside=other, ratio=ratio, wanted=wanted)


# --- points 1 to 4 ------------------------------------------------------------------------------


def single_encryption(report: harness.Report, key: PublicKey) -> None:
    """Point 1: one encryption with a full-length DJN exponent, against phe's."""
    start = time.perf_counter()
    djn_table(key)
    report.notes.append(f"table of h, once per process: {time.perf_counter() - start:.2f} s")
    if not report.peer("phe"):
        return
    theirs = importlib.import_module("phe").PaillierPublicKey(key.N)

    def ours_many() -> None:
        for m in range(20 * PHE_ENCRYPTIONS):
            key.encrypt(m)

    def theirs_many() -> None:
        for m in range(PHE_ENCRYPTIONS):
            theirs.encrypt(m)

    a, b = harness.paired(ours_many, theirs_many, 3 if report.quick else 9)
    ours, other = a.median / (20 * PHE_ENCRYPTIONS), b.median / PHE_ENCRYPTIONS
    point(report, "1", f"one encryption, beside phe {harness.version('phe')}",
          harness.duration(ours), harness.duration(other), other / ours, "≥ 15")


def partial_decryption(report: harness.Report, key: PublicKey, share: KeyShare) -> None:
    """Point 2: a vector's powers on one thread and on two, against bare powers."""
    count = 16 if report.quick else 100
    ciphertexts, _ = batch.encrypt_many(key, range(count))
    repeats = 3
    one, two = harness.paired(
        lambda: threshold.partially_decrypt_many(share, ciphertexts, threads=1),
        lambda: threshold.partially_decrypt_many(share, ciphertexts, threads=2), repeats, 0)
    bare_one, bare_two = harness.paired(
        lambda: power_each(ciphertexts, share.exponent, key.N2, 1),
        lambda: power_each(ciphertexts, share.exponent, key.N2, 2), repeats, 0)
    speed_up, limit = one.median / two.median, bare_one.median / bare_two.median
    point(report, "2", f"partial decryption of {count}, two threads beside one", two, one,
          speed_up, "≥ 1.7")
    point(report, "2", f"its speed-up beside that of bare powers ({limit:.3f})",
          f"{speed_up:.3f}", f"{limit:.3f}", speed_up / limit, "≥ 0.95")


def weighted_product(report: harness.Report, key: PublicKey) -> None:
    """Point 3: ten vectors with 12-bit weights, against one power per ciphertext."""
    length = 30 if report.quick else 200
    ciphertexts, _ = batch.encrypt_many(key, range(10 * length))
    vectors = [ciphertexts[k * length : (k + 1) * length] for k in range(10)]
    weights = [random.Random(7 + k).randrange(1 << 11, 1 << 12) for k in range(10)]
    N2 = mpz(key.N2)

    def one_by_one() -> list[mpz]:
        result = [mpz(1)] * length
        for vector, weight in zip(vectors, weights, strict=True):
            powers = gmpy2.powmod_base_list(vector, weight, N2)
            result = [a * b % N2 for a, b in zip(result, powers, strict=True)]
        return result

    assert one_by_one() == batch.weighted_product(key, vectors, weights)
    a, b = harness.paired(lambda: batch.weighted_product(key, vectors, weights), one_by_one,
                          3 if report.quick else 7)
    point(report, "3", f"weighted product, 10 vectors of {length}, 12-bit weights, beside powers",
          a, b, b.median / a.median, "≥ 1.6")


def share_proofs(report: harness.Report, key: PublicKey, share: KeyShare) -> None:
    """Point 4: making plus verifying one proof for a vector, against its partial decryptions."""
    count = 100 if report.quick else 1000
    ciphertexts, _ = batch.encrypt_many(key, range(count))
    powers, values = _once(lambda: power_each(ciphertexts, share.exponent, key.N2))
    rng = SeededRandomness(4)

    def make() -> Any:
        C, D, seed = threshold.combination(key, share.index, ciphertexts, values, b"")
        return threshold.prove_share(key, share.index, share.secret, C, D, seed, rng)

    proof = make()

    def check() -> None:
        C, D, seed = threshold.combination(key, share.index, ciphertexts, values, b"")
        threshold.check_proof(key, share.index, C, D, seed, proof)

    a, b = harness.paired(make, check, 3)
    both = a.median + b.median
    point(report, "4", f"proof of {count} shares (make {harness.duration(a.median)}, verify "
          f"{harness.duration(b.median)}) beside the shares, all cores", harness.duration(both),
          harness.duration(powers), both / powers, "≤ 0.05 (for 1,000)")


def plaintext_proofs(report: harness.Report, key: PublicKey) -> None:
    """Point 4: the proof of plaintext knowledge, against sealing; its verification per value."""
    count = 100 if report.quick else 1000
    plaintexts = [random.Random(k).getrandbits(2040) for k in range(count)]
    ciphertexts, nonces = batch.encrypt_many(key, plaintexts)
    a, b = harness.paired(
        lambda: batch.prove_plaintexts(key, ciphertexts, plaintexts, nonces, b"context"),
        lambda: batch.encrypt_many(key, plaintexts), 3 if report.quick else 7)
    point(report, "4", f"proof of {count} plaintexts beside sealing them", a, b,
          a.median / b.median, "≤ 0.25")
    proof = batch.prove_plaintexts(key, ciphertexts, plaintexts, nonces, b"context")
    wall, cpu = [], []
    for _ in range(3):
        start, used = time.perf_counter(), time.process_time()
        batch.verify_plaintexts(key, ciphertexts, proof, b"context")
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - used)
    for what, check in (("wall", statistics.median(wall)), ("CPU", statistics.median(cpu))):
        point(report, "4", f"verifying it, ms a ciphertext ({what})", harness.duration(check), "",
              1000 * check / count, "≤ 0.2")


# --- point 5 ------------------------------------------------------------------------------------


def keys(report: harness.Report) -> None:
    """Point 5: keys from a dealer, and without one."""
    if report.peer(TNO):
        report.notes.append(f"{TNO} is installed, but drives parties over sockets: not timed here")
    bits, repeats = (1024, 3) if report.quick else (BITS, 5)
    _key_row(report, f"dealer key of {bits} bits", lambda: deal(5, 3, bits), repeats, 10)
    repeats = 2 if report.quick else 3
    for parties, needed, limit in ((3, 2, 60), (5, 3, 120)):
        _key_row(report, f"joint key of {bits} bits, {parties} parties",
                 lambda p=parties, t=needed: generate_jointly(p, t, bits), repeats, limit)


def _key_row(
    report: harness.Report, what: str, make: Callable[[], Any], repeats: int, limit: int
) -> None:
    """Wall time, with the CPU seconds of all threads beside it: luck and load both matter here."""
    wall, cpu = [], []
    for _ in range(repeats):
        used = time.process_time()
        wall.append(_once(make)[0])
        cpu.append(time.process_time() - used)
    median = statistics.median(wall)
    point(report, "5", f"{what}, median of {repeats} (slowest {harness.duration(max(wall))}; CPU "
          f"{harness.duration(statistics.median(cpu))})", harness.duration(median), "", median,
          f"≤ {limit} s")


# --- point 6 ------------------------------------------------------------------------------------


def bare_multiplications(report: harness.Report, key: PublicKey, share: KeyShare) -> None:
    """Where the time goes: each operation beside the bare products modulo N² that it needs.

    A power with an e-bit exponent takes at least e squarings and about e/6 products; a table of
    8-bit rows takes |a|/8 factors; the batched proof 128-bit combinations by buckets.
    """
    N2 = mpz(key.N2)
    x, y = (mpz(random.Random(k).getrandbits(4096)) % N2 for k in (1, 2))
    product = _each(lambda: x * y % N2, 20000)
    exponent = mpz(share.exponent)
    bits = exponent.bit_length()
    table = djn_table(key)
    a = random.Random(5).getrandbits(key.nonce_bits)
    ten = [mpz(random.Random(k).getrandbits(4096)) % N2 for k in range(10)]
    weights = [2745 + 131 * k for k in range(10)]
    rows = [
        ("encryption: one table entry per 8 bits of a", key.nonce_bits / 8,
         _each(lambda: table.power(a, 5), 300)),
        ("share of a decryption: squarings and window products", bits * (1 + 1 / 6),
         _each(lambda: gmpy2.powmod(x, exponent, N2), 8)),
        ("weighted product of ten: by its addition sequence", 45,
         _each(lambda: batch.weighted_product(key, [[c] for c in ten], weights), 300)),
    ]
    for what, products, seconds in rows:
        report.add(operation=what, time=harness.duration(seconds), products=round(products),
                   bare=harness.duration(products * product),
                   times_the_bare_products=seconds / (products * product))
    report.notes.append(
        f"A bare product modulo N² (x * y % N2 in gmpy2) takes {harness.duration(product)}. Below "
        "1: the table's entries are multiplied in pairs of half length, and GMP's own powers use "
        "Montgomery's reduction, which Python cannot reach for single products.")


Operations = dict[str, Callable[[], Any]]
KEY_BITS = "key bits"


def table(report: harness.Report) -> None:
    """Point 6: the cost of each operation over the key size, beside the peers."""
    sizes = (1024,) if report.quick else (1024, 2048, 3072)
    for peer in PEERS:
        report.peer(peer)
    for bits in sizes:
        contestants = _contestants(bits)
        for operation in dict.fromkeys(one for calls in contestants.values() for one in calls):
            report.add(**{KEY_BITS: bits, "operation": operation}, **{
                name: harness.timed(calls[operation], 3 if report.quick else 5)
                if operation in calls else "–" for name, calls in contestants.items()})
    for length in (10, 100) if report.quick else (10, 100, 500):
        _vector_rows(report, length)


def _contestants(bits: int) -> dict[str, Operations]:
    """By library, its operations at this key size."""
    found = {"bdn": _ours(bits)}
    for name, make in (("phe", _phe), ("damgard-jurik", _damgard_jurik), ("sf-heu", _heu)):
        if harness.version(name) is not None:
            found[f"{name} {harness.version(name)}"] = make(bits)
    return found


def _ours(bits: int) -> Operations:
    key, shares = deal(3, 2, bits, SeededRandomness(bits))
    c, d = key.encrypt(5), key.encrypt(6)
    parts = [share.partially_decrypt(c) for share in shares[:2]]
    return {
        "encrypt": lambda: key.encrypt(12345),
        "encrypt, reference mode": lambda: key.encrypt(12345, r=987654321),
        "add": lambda: c + d,
        "multiply by 12 bits": lambda: c * 2745,
        "partial decryption with proof": lambda: shares[0].partially_decrypt(c),
        "combine 2 of 3, proofs checked": lambda: combine(key, c, parts),
        "open, 2 of 3, no proofs": lambda: open_shares(key, {
            share.index: [gmpy2.powmod(c.value, share.exponent, key.N2)] for share in shares[:2]}),
    }


def _phe(bits: int) -> Operations:
    phe = importlib.import_module("phe")
    public, private = phe.generate_paillier_keypair(n_length=bits)
    c, d = public.encrypt(5), public.encrypt(6)
    return {
        "encrypt": lambda: public.encrypt(12345),
        "add": lambda: c + d,
        "multiply by 12 bits": lambda: c * 2745,
        "decrypt (one key holder)": lambda: private.decrypt(c),
    }


def _damgard_jurik(bits: int) -> Operations:
    """Its key generation is slow at full length, so it is given our safe primes."""
    library = importlib.import_module("damgard_jurik")
    rng = SeededRandomness(bits)
    p, q = (safe_prime(bits // 2, rng) for _ in range(2))
    N, m = mpz(p * q), mpz((p - 1) * (q - 1) // 4)
    public = library.PublicKey(N, 1, m, 2, 6)
    d = m * gmpy2.invert(m, N)
    points = library.shamir.share_secret(secret=d, modulus=N * m, threshold=2, n_shares=3)
    ring = library.PrivateKeyRing(
        [library.PrivateKeyShare(public_key=public, i=i, s_i=s_i) for i, s_i in points])
    c, e = public.encrypt(5), public.encrypt(6)
    assert ring.decrypt(c) == 5
    return {
        "encrypt": lambda: public.encrypt(12345),
        "add": lambda: c + e,
        "multiply by 12 bits": lambda: c * 2745,
        "open, 2 of 3, no proofs": lambda: ring.decrypt(c),
    }


def _heu(bits: int) -> Operations:
    phe = importlib.import_module("heu").phe
    kit = phe.setup(phe.SchemaType.ZPaillier, bits)
    encryptor, evaluator, decryptor = kit.encryptor(), kit.evaluator(), kit.decryptor()
    c, d = encryptor.encrypt_raw(5), encryptor.encrypt_raw(6)
    return {
        "encrypt": lambda: encryptor.encrypt_raw(12345),
        "add": lambda: evaluator.add(c, d),
        "multiply by 12 bits": lambda: evaluator.mul(c, phe.Plaintext(kit.get_schema(), 2745)),
        "decrypt (one key holder)": lambda: decryptor.decrypt_raw(c),
    }


def _vector_rows(report: harness.Report, length: int) -> None:
    """The cost per ciphertext over the vector's length, 2048 bits (1024 when quick)."""
    bits = 1024 if report.quick else BITS
    key, shares = deal(3, 2, bits, SeededRandomness(b"vector"))
    plain = list(range(length))
    ciphertexts, nonces = batch.encrypt_many(key, plain)
    proof = batch.prove_plaintexts(key, ciphertexts, plain, nonces, b"")
    part_times, parts = [], []
    for share in shares[:2]:
        seconds, part = _once(lambda s=share: threshold.partially_decrypt_many(s, ciphertexts))
        part_times.append(seconds)
        parts.append(part)
    rows = {
        "seal": _each(lambda: batch.encrypt_many(key, plain), 3),
        "prove plaintexts":
            _each(lambda: batch.prove_plaintexts(key, ciphertexts, plain, nonces, b""), 3),
        "verify plaintexts":
            _each(lambda: batch.verify_plaintexts(key, ciphertexts, proof, b""), 3),
        "partial decryption with proof, all cores": statistics.median(part_times),
        "verify shares": _each(lambda: threshold.verify_vector(key, ciphertexts, parts[0]), 3),
        "combine 2 of 3, proofs checked":
            _each(lambda: threshold.combine_many(key, ciphertexts, parts), 3),
    }
    for operation, seconds in rows.items():
        report.add(**{"vector length": length, "operation": operation,
                      "a ciphertext": harness.duration(seconds / length)})


# --- helpers ------------------------------------------------------------------------------------


def _once(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def _each(call: Callable[[], Any], repeats: int) -> float:
    """Seconds of one call: the median of three rounds of ``repeats`` calls."""
    rounds = []
    for _ in range(3):
        start = time.perf_counter()
        for _ in range(repeats):
            call()
        rounds.append((time.perf_counter() - start) / repeats)
    return statistics.median(rounds)


def draw(whole: dict[str, Any], path: Path) -> None:
    """Cost over key size, by library and operation, on logarithmic axes."""
    import plots

    rows = [row for row in whole["rows"] if KEY_BITS in row]
    sizes = sorted({row[KEY_BITS] for row in rows})
    operations = ["encrypt", "add", "multiply by 12 bits"]
    figure, axes = plots.subplots(1, len(operations), figsize=(11, 3.8), sharey=True)
    libraries = [column for column in rows[0] if column not in (KEY_BITS, "operation")]
    for axis, operation in zip(axes[0], operations, strict=True):
        for library, colour, marker in zip(libraries, plots.PALETTE, "osD^v<>*", strict=False):
            line = [(row[KEY_BITS], row[library]["median"]) for row in rows
                    if row["operation"] == operation]
            axis.plot(*zip(*line, strict=True), marker=marker, color=colour, label=library)
        axis.set(title=operation, xlabel="key bits", yscale="log", xticks=sizes)
    axes[0, 0].set_ylabel("seconds")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    plots.save(figure, path)


if __name__ == "__main__":
    harness.main(TOPIC, measure, PEERS, draw=draw)
