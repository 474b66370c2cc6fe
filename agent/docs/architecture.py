"""Draws architecture.svg: one node, what happens in its kernel, the agent's threads, and what leaves.

    python3 agent/docs/architecture.py > agent/docs/architecture.svg

Colours follow the reader's scheme, light or dark. Nothing is needed but Python.
"""

WIDTH, HEIGHT = 1080, 640

STYLE = """
svg { --page: #ffffff; --text: #1f2328; --dim: #59636e; --line: #818b98; --box: #f6f8fa;
      --ours: #ddf4ff; --edge: #0969da; }
@media (prefers-color-scheme: dark) {
svg { --page: #0d1117; --text: #e6edf3; --dim: #9198a1; --line: #6e7681; --box: #161b22;
      --ours: #0c2d4a; --edge: #4493f8; } }
text { font: 14px system-ui, sans-serif; fill: var(--text); }
.title { font-weight: 600; }
.dim { font-size: 12px; fill: var(--dim); }
.page { fill: var(--page); }
.group { fill: none; stroke: var(--line); stroke-dasharray: 5 4; }
.box { fill: var(--box); stroke: var(--line); }
.ours { fill: var(--ours); stroke: var(--edge); }
.arrow { fill: none; stroke: var(--line); stroke-width: 1.5; marker-end: url(#head); }
.hop { stroke: var(--edge); stroke-width: 3; }
.head { fill: var(--line); }
"""

# Frames around others: x, y, width, height, title.
GROUPS = [
    (20, 40, 800, 580, "a node"),
    (40, 230, 760, 110, "kernel"),
    (40, 370, 760, 230, "hopsight: one process"),
]

# x, y, width, height, class, title, further lines.
BOXES = [
    (60, 70, 330, 130, "box", "proxy", ["nginx, Envoy, haproxy, Caddy, …"]),
    (230, 115, 140, 70, "box", "TLS library", ["OpenSSL, Go,", "BoringSSL"]),
    (870, 70, 190, 130, "box", "upstream", ["servers behind a name"]),
    (60, 260, 250, 65, "ours", "programs on the cgroup", ["connect, sock_ops, egress, ingress"]),
    (340, 260, 210, 65, "ours", "ring buffer", ["bounded; losses are counted"]),
    (580, 260, 200, 65, "ours", "probes in the library", ["handshake messages, whole"]),
    (60, 400, 330, 80, "ours", "pipeline", ["stream → tls → verdict: one per connection", "bounded table; no clock, no files"]),
    (60, 500, 330, 80, "ours", "compliance", ["policy, intent, drift", "names: nginx's files, Kubernetes, CRI"]),
    (430, 400, 170, 180, "ours", "hops", ["proxy and upstream:", "the worst treatment", "in use, with its", "evidence"]),
    (640, 400, 140, 80, "ours", "HTTP", ["no capability,", "no other file"]),
    (640, 500, 140, 80, "ours", "writers", ["events, OTLP"]),
    (870, 380, 190, 50, "box", "Prometheus", ["/metrics, alerts"]),
    (870, 445, 190, 50, "box", "people", ["page, hops, watch"]),
    (870, 510, 190, 70, "box", "collector, files", ["OTLP; a line of JSON", "per report"]),
]

# Class and points.
ARROWS = [
    ("arrow hop", "390,100 868,100"),
    ("arrow", "150,200 150,258"),
    ("arrow", "370,160 680,160 680,258"),
    ("arrow", "310,292 338,292"),
    ("arrow", "580,292 552,292"),
    ("arrow", "445,325 445,355 225,355 225,398"),
    ("arrow", "225,480 225,498"),
    ("arrow", "390,440 428,440"),
    ("arrow", "390,540 428,540"),
    ("arrow", "600,440 638,440"),
    ("arrow", "600,540 638,540"),
    ("arrow", "780,420 868,405"),
    ("arrow", "780,450 868,470"),
    ("arrow", "780,540 868,545"),
]

# x, y, class, text.
LABELS = [
    (420, 90, "title", "the hop: mtls, tls, plaintext or unknown?"),
    (420, 120, "dim", "packets pass; nothing is delayed, changed or decrypted"),
]


def text(x, y, kind, words):
    words = words.replace("&", "&amp;").replace("<", "&lt;")
    return f'<text x="{x}" y="{y}" class="{kind}">{words}</text>'


def rectangle(x, y, width, height, kind):
    return f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" class="{kind}"/>'


def draw():
    yield (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
           'aria-label="What hopsight is made of">')
    yield f"<style>{STYLE}</style>"
    yield ('<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" '
           'markerHeight="8" markerUnits="userSpaceOnUse" orient="auto">'
           '<path d="M0 0 8 4 0 8z" class="head"/></marker></defs>')
    yield f'<rect width="{WIDTH}" height="{HEIGHT}" class="page"/>'
    for x, y, width, height, title in GROUPS:
        yield rectangle(x, y, width, height, "group")
        yield text(x + 12, y + 20, "dim", title)
    for x, y, width, height, kind, title, lines in BOXES:
        yield rectangle(x, y, width, height, kind)
        yield text(x + 12, y + 22, "title", title)
        for number, line in enumerate(lines):
            yield text(x + 12, y + 41 + 16 * number, "dim", line)
    for kind, points in ARROWS:
        yield f'<polyline points="{points}" class="{kind}"/>'
    for label in LABELS:
        yield text(*label)
    yield "</svg>"


if __name__ == "__main__":
    print("\n".join(draw()))
