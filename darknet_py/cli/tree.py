"""`tree check`, `tree print`, `tree build` and `tree merge`."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from darknet_py.cli.options import Verb, count, switch
from darknet_py.cli.output import complain
from darknet_py.errors import DarknetError

if TYPE_CHECKING:
    from darknet_py.tree.merge import Merged
    from darknet_py.tree.wordtree import WordTree

LINES = (
    "lines such as `dog animal` (a dog is a kind of animal; a tab separates names of several words), "
    "entity/animal/dog or `hot dog = hotdog` (a label is another name for a node)"
)


def names_argument(parser: ArgumentParser) -> None:
    """The option --names."""
    parser.add_argument("--names", metavar="FILE", help="the names of the nodes, one per line, such as 9k.names")


def _check_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("tree", metavar="TREE")
    names_argument(parser)
    parser.add_argument("--map", metavar="FILE", nargs="*", default=[], help=".map files that name its nodes")
    switch(parser, "json", "print JSON")


def _check(args: Namespace) -> int:
    from darknet_py.cfg import read_names
    from darknet_py.tree.merge import faults
    from darknet_py.tree.wordtree import WordTree, read_map

    tree = WordTree.read(args.tree)
    problems = list(faults(tree, read_names(args.names) if args.names else None))
    for path in args.map:
        beyond = [node for node in read_map(path) if node >= len(tree.names)]
        problems += [f"{path}: {len(beyond)} classes beyond the tree, the first {beyond[0]}"] if beyond else []
    facts = {
        "nodes": len(tree.names), "levels": tree.depth, "groups": len(tree.group_sizes),
        "leaves": sum(tree.leaves), "largest_group": max(tree.group_sizes),
    }  # fmt: skip
    if args.json:
        print(json.dumps({"ok": not problems, **facts, "problems": problems}))
    else:
        words = ", ".join(f"{value} {name.replace('_', ' ')}" for name, value in list(facts.items())[:-1])
        print("\n".join([*problems, f"{args.tree}: {words}, {facts['largest_group']} nodes in the largest group"]))
        print(f"{args.tree}: {'has errors' if problems else 'ok'}")
    return 1 if problems else 0


def _print_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("tree", metavar="TREE")
    names_argument(parser)
    parser.add_argument("--depth", type=count, metavar="N", help="number of levels to print")
    parser.add_argument("--root", metavar="NAME", help="only this node, by name or number, and its descendants")
    switch(parser, "json", "print JSON, one object per node")


def _print(args: Namespace) -> int:
    from darknet_py.tree.wordtree import WordTree

    tree = WordTree.read(args.tree)
    names = _names(tree, args.names)
    below = [0] * len(names)
    for node in range(len(names) - 1, -1, -1):
        if tree.parents[node] >= 0:
            below[tree.parents[node]] += below[node] + 1
    rows = _walk(tree, [] if args.root is None else _roots(tree, names, args.root), args.depth)
    if args.json:
        facts = [{"node": n, "key": tree.names[n], "name": names[n], "parent": tree.parents[n]} for n, _, _ in rows]
        print(json.dumps(facts))
        return 0
    for node, depth, cut in rows:
        key = "" if names[node] == tree.names[node] else f" {tree.names[node]}"
        print(f"{'  ' * depth}{names[node]} ({node}{key})" + (f" +{below[node]}" if cut and below[node] else ""))
    return 0


def _names(tree: WordTree, path: str | None) -> tuple[str, ...]:
    from darknet_py.cfg import read_names

    names = tree.names if path is None else read_names(path)
    if len(names) != len(tree.names):
        raise DarknetError(f"{path}: {len(names)} names, but {tree.source} has {len(tree.names)} nodes")
    return names


def _roots(tree: WordTree, names: Sequence[str], wanted: str) -> list[int]:
    found = [node for node, both in enumerate(zip(names, tree.names, strict=True)) if wanted in both]
    if not found and wanted.isdecimal() and int(wanted) < len(names):
        found = [int(wanted)]
    if not found:
        raise DarknetError(f"there is no node {wanted!r} in {tree.source}")
    return found


def _walk(tree: WordTree, roots: list[int], depth: int | None) -> list[tuple[int, int, bool]]:
    """Nodes from the top down, children under their parent, with their depth and whether those below are cut off."""
    found = []
    todo = [(node, 1) for node in reversed(roots or range(tree.group_sizes[0]))]
    while todo:
        node, level = todo.pop()
        cut = level == depth
        found.append((node, level - 1, cut))
        if (group := tree.children[node]) >= 0 and not cut:
            first = tree.group_offsets[group]
            todo += [(child, level + 1) for child in reversed(range(first, first + tree.group_sizes[group]))]
    return found


def _build_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("lines", metavar="LINES", help=LINES)
    parser.add_argument("out", metavar="OUT", help="OUT.tree and OUT.names are written")
    switch(parser, "force", "overwrite existing files")
    switch(parser, "json", "print JSON")


def _build(args: Namespace) -> int:
    from darknet_py.tree.hypernyms import Kinds
    from darknet_py.tree.merge import merge

    return _write(args, merge(Kinds.read(args.lines)), ())


def _merge_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("out", metavar="OUT", help="OUT.tree, OUT.names and for each label set SET-OUT.map are written")
    parser.add_argument("sets", metavar="SET", nargs="+", help="a .names file; every label gets its node in the tree")
    parser.add_argument("--tree", metavar="TREE", help="the tree to merge them into; without, the lines make a new one")
    names_argument(parser)
    parser.add_argument("--lines", metavar="FILE", help=LINES)
    switch(parser, "force", "overwrite existing files")
    switch(parser, "json", "print JSON")


def _merge(args: Namespace) -> int:
    from darknet_py.cfg import read_names
    from darknet_py.tree.hypernyms import Kinds
    from darknet_py.tree.merge import merge
    from darknet_py.tree.wordtree import WordTree

    if args.tree is None and args.lines is None:
        complain("merge needs --tree, --lines or both; see darknet-py tree merge --help")
        return 2
    base = None if args.tree is None else WordTree.read(args.tree)
    sets = [read_names(path) for path in args.sets]
    lines = Kinds() if args.lines is None else Kinds.read(args.lines)
    merged = merge(lines, sets, base, () if args.names is None else read_names(args.names))
    maps = list(zip(map(_stem, args.sets), merged.maps, strict=True))
    if base is not None:  # where its nodes are now, for labels that were made for it
        places = {name: node for node, name in enumerate(merged.tree.names)}
        maps.append((_stem(args.tree), tuple(places[name] for name in base.names)))
    if not args.json:
        for labels, nodes in zip(sets, merged.maps, strict=True):
            for label, node in zip(labels, nodes, strict=True):
                print(f"{label}: {node} {'/'.join(merged.names[above] for above in merged.tree.path(node))}")
    return _write(args, merged, maps)


def _stem(path: str) -> str:
    return Path(path).stem


def _write(args: Namespace, merged: Merged, maps: Sequence[tuple[str, Sequence[int]]]) -> int:
    """Write the tree, its names and the maps, each under the name of its label set."""
    from darknet_py.files import replacing
    from darknet_py.tree.merge import tree_text

    out = Path(args.out)
    texts = {f"{out}.tree": tree_text(merged.tree), f"{out}.names": "".join(f"{name}\n" for name in merged.names)}
    for stem, nodes in maps:
        path = str(out.with_name(f"{stem}-{out.name}.map"))
        if path in texts:
            raise DarknetError(f"{path} would be written twice: two of the files have the name {stem}")
        texts[path] = "".join(f"{node}\n" for node in nodes)
    there = [path for path in texts if Path(path).exists()]
    if there and not args.force:
        raise DarknetError(f"{there[0]} is there; --force writes over it")
    for path, text in texts.items():
        with replacing(path, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
    if args.json:
        print(json.dumps({"nodes": len(merged.names), "files": list(texts), "maps": dict(maps)}))
    else:
        print(f"{len(merged.names)} nodes: {', '.join(texts)}")
    return 0


VERBS = {
    "tree check": Verb("describe a tree of classes and check it", _check_arguments, _check),
    "tree print": Verb("print a tree of classes, indented", _print_arguments, _print),
    "tree build": Verb("make a tree from lines such as `dog animal`", _build_arguments, _build),
    "tree merge": Verb("merge label sets into one tree, with a .map for each", _merge_arguments, _merge),
}
