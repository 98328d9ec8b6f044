"""Plans, and their pictures."""

# What the picture shows at most: more rectangles than that are thinner than a line.
_SHOWN = 600
_WIDTH, _HEIGHT = 760, 260
_REMARKS = {"weights": "resident", "window": "weights are read from the file in each run"}


def escape(text):
    """Text that a page shows as it is: the module html has a table of all of its entities, which is large."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;").replace("'", "&#x27;")


def show_bytes(count):
    """A number of bytes with its unit, as the command line shows it."""
    if count < 1024:
        return f"{count} B"
    for unit in ("KiB", "MiB", "GiB"):
        count /= 1024
        if count < 1024 or unit == "GiB":
            return f"{count:.1f} {unit}"


class Plan:
    """How a model lies in memory for a batch. A notebook shows it with a picture of the arena.

    Attributes
    ----------
    model : str
        The model's path.
    batch, threads : int
        Rows at once, and threads.
    memory_bytes : int
        The memory that was given.
    minimum_bytes : int
        The smallest memory that works for this batch and these threads.
    planned_bytes : int
        All lines together.
    lines : dict of str to int
        Bytes of runtime, weights, window, arena, pipeline and sink.
    arena_bytes, arena_lower_bound_bytes : int
        What values and scratch take, and what no arena can be below.
    streamed_bytes : int
        Bytes of weights that are read from the file in each run; 0 where all are in memory.
    growth_bytes : int
        What is set aside for values whose size is only known in a run, and for ``growing`` ones: node, operator and shape.
    input_shapes, output_shapes : dict of str to tuple of int
        Shapes by name; of an output that depends on data the largest it can be.
    steps : list of (str, str)
        Node and operator of each step.
    peak : (int, str, str, int, list) or None
        The step at which the most bytes are alive: its number, node, operator, bytes, and name, kind and bytes of what
        is alive.
    rectangles : list of (str, str, int, int, int, int)
        What lies in the arena: name, kind, the first step it lives in, the first it does not, where it begins, bytes.
    """

    __module__ = "tightfit"

    def __init__(self, model, figures):
        self.model = model
        self.__dict__.update(figures)

    def to_dict(self):
        """All figures.

        Returns
        -------
        dict
            By the names that ``tightfit plan --json`` has for them.
        """
        return dict(self.__dict__)

    def __repr__(self):
        return (
            f"<tightfit.Plan batch {self.batch}: {self.planned_bytes} bytes of {self.memory_bytes}, "
            f"at least {self.minimum_bytes}>"
        )

    def __str__(self):
        lines = [f"{self.model}: batch {self.batch}, threads {self.threads}"]
        for name, count, remark in self._rows():
            lines.append(f"  {name:9}{show_bytes(count):>10}  {remark}".rstrip())
        if self.peak:
            step, node, op, alive_bytes, _ = self.peak
            lines.append(
                f"Peak: step {step + 1} of {len(self.steps)}, '{node}' ({op}): {show_bytes(alive_bytes)} alive"
            )
        return "\n".join(lines)

    def _rows(self):
        for name, count in self.lines.items():
            if count:
                yield name, count, _REMARKS.get(name, "") if name != "weights" or not self.streamed_bytes else ""
        yield "planned", self.planned_bytes, ""
        yield "allowed", self.memory_bytes, f"smallest that works: {self.minimum_bytes}"

    def _repr_html_(self):
        cells = "".join(
            f"<tr><td>{escape(name)}</td><td style='text-align:right'>{show_bytes(count)}</td>"
            f"<td style='text-align:left'>{escape(remark)}</td></tr>"
            for name, count, remark in self._rows()
        )
        title = f"{escape(self.model)}: batch {self.batch}, threads {self.threads}"
        return f"<div><b>{title}</b><table>{cells}</table>{self._picture()}</div>"

    def _picture(self):
        steps, top = max(len(self.steps), 1), max(self.arena_bytes, 1)
        largest = sorted(self.rectangles, key=lambda r: r[5] * (r[3] - r[2]), reverse=True)[:_SHOWN]
        shapes = []
        for name, what, first, end, offset, count in largest:
            x, width = first / steps * _WIDTH, (end - first) / steps * _WIDTH
            height = count / top * _HEIGHT
            y = _HEIGHT - offset / top * _HEIGHT - height
            hue = sum(name.encode()) * 37 % 360
            fill = "hsl(0,0%,80%)" if what == "scratch" else f"hsl({hue},55%,70%)"
            text = escape(f"{name}\n{what}\n{show_bytes(count)}, steps {first + 1} to {end}")
            shapes.append(
                f"<rect x='{x:.2f}' y='{y:.2f}' width='{width:.2f}' height='{height:.2f}' fill='{fill}' "
                f"stroke='white' stroke-width='0.3'><title>{text}</title></rect>"
            )
        return (
            f"<svg viewBox='0 0 {_WIDTH} {_HEIGHT}' width='100%' style='max-width:{_WIDTH}px;background:#f4f4f4'>"
            f"{''.join(shapes)}</svg><div>arena {show_bytes(self.arena_bytes)}: steps from left to right, bytes from "
            "bottom to top</div>"
        )
