"""Renders the chart with Helm's SDK and checks what comes out against Kubernetes' schemas.

    render.py CHART VALUES.yaml [NAMESPACE]   prints the manifests, sorted by template
    render.py CHART --lint                    prints what `helm lint --strict` finds

Needs helm-python-sdk and kubernetes-validate (`cargo xtask setup` installs them in its cache).
"""

import os
import sys

import helm_python as helm
import kubernetes_validate
import yaml

# The first that knows `appArmorProfile`, and the newest at hand.
VERSIONS = ("1.30", "1.37")


def main():
    chart, what = sys.argv[1:3]
    # Helm tells about the links in files/ on standard error at every load.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    if what == "--lint":
        found = helm.lint(chart, strict=True)
        problems = [m["error"] for m in found["messages"] if m["severity"] > 1] + found["errors"]
        print("\n".join(problems), end="")
        return 1 if problems else 0
    namespace = sys.argv[3] if len(sys.argv) > 3 else "hopsight"
    with open(what, encoding="utf-8") as file:
        values = yaml.safe_load(file) or {}
    try:
        with helm.Chart.load(chart) as loaded:
            rendered = loaded.render(values, name="hopsight", namespace=namespace)
    except helm.HelmError as error:
        print(error)
        return 1
    for template, text in sorted(rendered.items()):
        if template.endswith("NOTES.txt") or not text.strip():
            continue
        for document in filter(None, yaml.safe_load_all(text)):
            check(template, document)
        print(f"---\n# {template}\n{text.strip().removeprefix('---').strip()}")
    return 0


def check(template, document):
    # Resources of others have no schema in Kubernetes itself.
    if document["apiVersion"].startswith(("monitoring.coreos.com/", "security.openshift.io/")):
        return
    for version in VERSIONS:
        kubernetes_validate.validate(document, version, strict=True)


if __name__ == "__main__":
    sys.exit(main())
