"""JPEGs as nobody's encoder writes them, for comparing decoders: any sampling factors, scans and tables.

Pictures are made of random coefficients: no transform is needed, and all that a decoder does with them shows. Source:
ITU-T T.81.
"""

import heapq
import struct

import numpy as np

ZIGZAG = sorted(range(64), key=lambda i: (i // 8 + i % 8, i // 8 if (i // 8 + i % 8) % 2 else i % 8))


def segment(marker, content):
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def code_lengths(symbols):
    """A length up to 16 for each symbol, shorter for frequent ones, so that no code is all ones."""
    counts = {}
    for symbol in symbols:
        counts[symbol] = counts.get(symbol, 0) + 1
    floor = 1
    while True:
        # The one that is all ones stands for nothing.
        heap = [(0.5, -1, [None])] + [(max(count, floor), s, [s]) for s, count in counts.items()]
        heapq.heapify(heap)
        lengths = dict.fromkeys([None, *counts], 0)
        while len(heap) > 1:
            (a, _, one), (b, order, two) = heapq.heappop(heap), heapq.heappop(heap)
            for symbol in one + two:
                lengths[symbol] += 1
            heapq.heappush(heap, (a + b, order, one + two))
        if max(lengths.values()) <= 16:
            # The longest code is the last: it goes to the symbol that is none.
            longest = max(lengths, key=lambda symbol: lengths[symbol])
            lengths[None], lengths[longest] = lengths[longest], lengths[None]
            del lengths[None]
            return {symbol: max(bits, 1) for symbol, bits in lengths.items()}
        floor *= 2


def huffman(symbols):
    """DHT content without its head, and the code and its length of each symbol."""
    lengths = code_lengths(symbols or [0])
    order = sorted(lengths, key=lambda symbol: (lengths[symbol], symbol))
    counts = [0] * 17
    codes, code, bits = {}, 0, 0
    for symbol in order:
        code <<= lengths[symbol] - bits
        bits = lengths[symbol]
        codes[symbol] = (code, bits)
        counts[bits] += 1
        code += 1
    return bytes(counts[1:]) + bytes(order), codes


def magnitude(value):
    """Its size and its bits."""
    size = abs(value).bit_length()
    return size, value if value >= 0 else value + (1 << size) - 1


class Scan:
    """Symbols of a scan: (class, table, symbol, extra bits, how many), or None where a restart is."""

    def __init__(self):
        self.items = []

    def symbol(self, kind, table, symbol, extra=0, bits=0):
        self.items.append((kind, table, symbol, extra, bits))

    def bits(self, extra, bits):
        self.items.append((None, 0, 0, extra, bits))

    def restart(self):
        self.items.append(None)

    def tables(self):
        """DHT contents and codes, by class and number."""
        used = {}
        for item in self.items:
            if item and item[0] is not None:
                used.setdefault(item[:2], []).append(item[2])
        return {key: huffman(symbols) for key, symbols in used.items()}

    def data(self, tables):
        out, text, restarts = b"", [], 0

        def flush():
            nonlocal out
            joined = "".join(text)
            joined += "1" * (-len(joined) % 8)
            raw = int(joined, 2).to_bytes(len(joined) // 8, "big") if joined else b""
            out += raw.replace(b"\xff", b"\xff\0")
            text.clear()

        for item in self.items:
            if item is None:
                flush()
                out += bytes([0xFF, 0xD0 + restarts % 8])
                restarts += 1
                continue
            kind, table, symbol, extra, bits = item
            if kind is not None:
                code, length = tables[(kind, table)][1][symbol]
                text.append(format(code, f"0{length}b"))
            if bits:
                text.append(format(extra, f"0{bits}b"))
        flush()
        return out


class Jpeg:
    """`factors`: (h, v) of each component. `density`: how many coefficients are not zero."""

    def __init__(self, rng, width, height, factors, density=0.15, scale=40, progressive=False):
        self.rng, self.size, self.factors, self.progressive = rng, (width, height), factors, progressive
        self.h, self.v = max(h for h, _ in factors), max(v for _, v in factors)
        self.mcus = -(-width // (8 * self.h)), -(-height // (8 * self.v))
        self.ids = list(range(1, len(factors) + 1))
        self.quant_of = [min(i, 1) for i in range(len(factors))]
        self.quants = {n: rng.integers(1, 12, 64) for n in set(self.quant_of)}
        self.wide_quants = set()
        self.restart, self.adobe, self.jfif, self.fill, self.stray = 0, None, False, 0, b""
        self.head = b""
        self.blocks = []
        for h, v in factors:
            shape = self.mcus[1] * v, self.mcus[0] * h, 64
            values = rng.laplace(0, scale, shape) / (1 + np.arange(64)) ** 0.7
            values = np.where(rng.random(shape) < density, values, 0)
            values[..., 0] = np.cumsum(rng.normal(0, scale / 3, shape[:2]), axis=1).clip(-600, 600)
            self.blocks.append(values.round().astype(int).clip(-1000, 1000))

    def real_blocks(self, i):
        """Blocks across and down that hold samples of component `i`."""
        (width, height), (h, v) = self.size, self.factors[i]
        return -(-width * h // (8 * self.h)), -(-height * v // (8 * self.v))

    def mcu_blocks(self, components):
        """For each MCU of a scan, the place of each block: (component, y, x)."""
        if len(components) == 1:
            (i,) = components
            across, down = self.real_blocks(i)
            return [[(i, y, x)] for y in range(down) for x in range(across)]
        found = []
        for my in range(self.mcus[1]):
            for mx in range(self.mcus[0]):
                mcu = []
                for i in components:
                    h, v = self.factors[i]
                    mcu += [(i, my * v + y, mx * h + x) for y in range(v) for x in range(h)]
                found.append(mcu)
        return found

    def sequential(self, components):
        scan, before = Scan(), {}
        for n, mcu in enumerate(self.mcu_blocks(components)):
            if self.restart and n and n % self.restart == 0:
                scan.restart()
                before = {}
            for i, y, x in mcu:
                block, table = self.blocks[i][y, x], min(i, 1)
                size, extra = magnitude(int(block[0]) - before.get(i, 0))
                before[i] = int(block[0])
                scan.symbol(0, table, size, extra, size)
                self.run_lengths(scan, table, block[1:].tolist())
        return scan, (0, 63, 0, 0)

    @staticmethod
    def run_lengths(scan, table, values):
        run = 0
        for value in values:
            if value == 0:
                run += 1
                continue
            while run > 15:
                scan.symbol(1, table, 0xF0)
                run -= 16
            size, extra = magnitude(value)
            scan.symbol(1, table, run << 4 | size, extra, size)
            run = 0
        if run:
            scan.symbol(1, table, 0)

    def first(self, components, high, low):
        scan, before = Scan(), {}
        for n, mcu in enumerate(self.mcu_blocks(components)):
            if self.restart and n and n % self.restart == 0:
                scan.restart()
                before = {}
            for i, y, x in mcu:
                value = int(self.blocks[i][y, x, 0]) >> low
                if high:
                    scan.bits(value & 1, 1)
                    continue
                size, extra = magnitude(value - before.get(i, 0))
                before[i] = value
                scan.symbol(0, min(i, 1), size, extra, size)
        return scan, (0, 0, high, low)

    def band(self, i, start, end, high, low):
        scan, table, waiting, pending = Scan(), min(i, 1), 0, []

        def flush():
            nonlocal waiting, pending
            if waiting:
                bits = waiting.bit_length() - 1
                scan.symbol(1, table, bits << 4, waiting - (1 << bits), bits)
            for bit in pending:
                scan.bits(bit, 1)
            waiting, pending = 0, []

        for n, ((_, y, x),) in enumerate(self.mcu_blocks([i])):
            if self.restart and n and n % self.restart == 0:
                flush()
                scan.restart()
            values = self.blocks[i][y, x, start : end + 1].tolist()
            values = [(abs(v) >> low) * (1 if v >= 0 else -1) for v in values]
            is_new = [abs(v) == 1 if high else v != 0 for v in values]
            last = max((k for k, new in enumerate(is_new) if new), default=-1)
            run, bits = 0, []
            for k, value in enumerate(values):
                if k > last:
                    break
                if high and abs(value) > 1:
                    bits.append(abs(value) & 1)
                    continue
                if value == 0:
                    run += 1
                    if run == 16:
                        flush()
                        scan.symbol(1, table, 0xF0)
                        for bit in bits:
                            scan.bits(bit, 1)
                        run, bits = 0, []
                    continue
                flush()
                size, extra = (1, int(value > 0)) if high else magnitude(value)
                scan.symbol(1, table, run << 4 | size, extra, size)
                for bit in bits:
                    scan.bits(bit, 1)
                run, bits = 0, []
            if last < len(values) - 1:
                waiting += 1
                pending += bits + [abs(v) & 1 for v in values[last + 1 :] if high and abs(v) > 1]
                if waiting == 0x7FFF or len(pending) > 900:
                    flush()
            elif bits:
                raise AssertionError("bits after the last coefficient")
        flush()
        return scan, (start, end, high, low)

    def script(self):
        """A random legal order of progressive scans."""
        rng, count = self.rng, len(self.factors)
        low = int(rng.integers(0, 3))
        groups = [list(range(count))] if self.fits(range(count)) and rng.random() < 0.7 else [[i] for i in range(count)]
        scans = [(group, 0, 0, 0, low) for group in groups]
        later = []
        for step in range(low, 0, -1):
            later += [(group, 0, 0, step, step - 1) for group in groups]
        for i in range(count):
            cuts = sorted(rng.choice(np.arange(2, 64), int(rng.integers(0, 3)), replace=False).tolist())
            own = []
            for start, end in zip([1, *cuts], [*(c - 1 for c in cuts), 63]):
                low = int(rng.integers(0, 3))
                own.append([([i], start, end, 0, low)])
                own[-1] += [([i], start, end, step, step - 1) for step in range(low, 0, -1)]
            later += [scan for band in own for scan in band]
        if rng.random() < 0.5:
            # Bands of different components may come in any order; refinements stay behind what they refine.
            keys = {}
            order = sorted(range(len(later)), key=lambda k: rng.random())
            places = {}
            for k in order:
                places.setdefault((tuple(later[k][0]), later[k][1]), []).append(k)
            for key, ks in places.items():
                places[key] = iter(sorted(ks))
            later = [later[next(places[(tuple(later[k][0]), later[k][1])])] for k in order]
            del keys
        return scans + later

    def fits(self, components):
        return sum(self.factors[i][0] * self.factors[i][1] for i in components) <= 10 and len(components) <= 4

    def groups(self):
        """Components by scan of a sequential picture."""
        count = range(len(self.factors))
        if self.fits(count) and self.rng.random() < 0.6:
            return [list(count)]
        if len(count) == 3 and self.fits([1, 2]) and self.rng.random() < 0.4:
            return [[0], [1, 2]]
        groups = [[i] for i in count]
        self.rng.shuffle(groups)
        return groups

    def scans(self):
        if not self.progressive:
            return [(group, *self.sequential(group)) for group in self.groups()]
        made = []
        for group, start, end, high, low in self.script():
            made.append((group, *(self.first(group, high, low) if start == 0 else self.band(group[0], start, end, high, low))))
        return made

    def between(self):
        return self.stray + b"\xff" * self.fill

    def quant_segment(self, n):
        values = self.quants[n]
        if n in self.wide_quants:
            return segment(0xDB, bytes([0x10 | n]) + struct.pack(">64H", *values.tolist()))
        return segment(0xDB, bytes([n]) + bytes(values.tolist()))

    def file(self):
        out = [b"\xff\xd8"]
        if self.jfif:
            out.append(segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0"))
        if self.adobe is not None:
            out.append(segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes([self.adobe])))
        if self.head:
            out.append(self.head)
        out += [self.quant_segment(n) for n in self.quants]
        width, height = self.size
        parts = b"".join(
            bytes([self.ids[i], h << 4 | v, self.quant_of[i]]) for i, (h, v) in enumerate(self.factors)
        )
        frame = struct.pack(">BHHB", 8, height, width, len(self.factors)) + parts
        out.append(segment(0xC2 if self.progressive else 0xC0, frame))
        if self.restart:
            out.append(segment(0xDD, struct.pack(">H", self.restart)))
        for group, scan, (start, end, high, low) in self.scans():
            tables = scan.tables()
            if not self.progressive:
                for i in group:
                    for kind in (0, 1):
                        tables.setdefault((kind, min(i, 1)), huffman([0]))
            for (kind, number), (content, _) in tables.items():
                out.append(segment(0xC4, bytes([kind << 4 | number]) + content))
            head = bytes([len(group)])
            head += b"".join(bytes([self.ids[i], min(i, 1) * 0x11]) for i in group)
            head += bytes([start, end, high << 4 | low])
            out.append(segment(0xDA, head) + scan.data(tables))
        out.append(b"\xff\xd9")
        return out[0] + self.between().join(out[1:])


COMMON = [(1, 1), (2, 1), (1, 2), (2, 2)]


def random_jpeg(rng, largest=200):
    """A picture of any kind that a decoder should take."""
    width, height = (int(rng.integers(1, 1 + (largest if rng.random() < 0.4 else 40))) for _ in range(2))
    count = int(rng.choice([1, 3, 3, 3, 3, 4]))
    kind = rng.random()
    if kind < 0.5:
        factors = [COMMON[rng.integers(4)]] + [(1, 1)] * (count - 1)
    elif kind < 0.75:
        factors = [COMMON[rng.integers(4)] for _ in range(count)]
    else:
        factors = [tuple(rng.integers(1, 5, 2).tolist()) for _ in range(count)]
    jpeg = Jpeg(rng, width, height, factors, float(rng.choice([0.0, 0.05, 0.2, 0.5])), float(rng.choice([5, 40, 150])),
                rng.random() < 0.4)  # fmt: skip
    if rng.random() < 0.3:
        jpeg.restart = int(rng.choice([1, 2, 3, 7, 20]))
    if rng.random() < 0.3:
        jpeg.adobe = int(rng.integers(0, 3))
    jpeg.jfif = rng.random() < 0.4
    if rng.random() < 0.15:
        jpeg.stray = bytes(rng.integers(0, 255, rng.integers(1, 9)).tolist())
    if rng.random() < 0.15:
        jpeg.fill = int(rng.integers(1, 4))
    if count == 3 and rng.random() < 0.15:
        jpeg.ids = [82, 71, 66]
    elif rng.random() < 0.1:
        jpeg.ids = [int(i) for i in rng.choice(256, count, replace=False)]
    if rng.random() < 0.1:
        jpeg.wide_quants = {0}
        jpeg.quants[0] = rng.integers(1, 400, 64)
    return jpeg.file()


def damaged(rng, content):
    """The same with some bytes changed, lost or doubled, mostly in the coded data."""
    content = bytearray(content)
    for _ in range(int(rng.integers(1, 4))):
        if len(content) < 4:
            break
        at = int(rng.integers(2, len(content)))
        what = rng.random()
        if what < 0.5:
            content[at] = int(rng.integers(256))
        elif what < 0.7:
            del content[at : at + int(rng.integers(1, 12))]
        elif what < 0.85:
            content[at:at] = bytes(rng.integers(0, 256, rng.integers(1, 12)).tolist())
        elif what < 0.93:
            content[at:at] = bytes([0xFF, 0xD0 + int(rng.integers(8))])
        else:
            del content[at:]
    return bytes(content)
