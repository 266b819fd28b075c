"""Make the structures that come with the package from entries of the Protein Data Bank.

    python examples/ship_structures.py FOLDER        # holds 4v5d.cif.gz, 4v1w.cif.gz and 3jb9.cif.gz

Writes volengine/data/structures/*.cif.gz: atoms without waters, ions and hydrogens, positions to 0.1 angstrom, so small
that they can be shipped. The archive is free of copyright (CC0 1.0); cite the entries 4V5D, 4V1W and 3JB9.
"""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import gemmi

from volengine.io.structures.read import read_structure
from volengine.tasks.simulate.structures import SHIPPED

OUT = Path(__file__).parents[1] / "volengine" / "data" / "structures"
HEAD = "data_{name}\nloop_\n_atom_site.id\n_atom_site.type_symbol\n_atom_site.label_atom_id\n_atom_site.label_comp_id\n"
COLUMNS = ("label_alt_id", "label_asym_id", "label_seq_id", "Cartn_x", "Cartn_y", "Cartn_z")


def main() -> None:
    """Write all of them."""
    OUT.mkdir(parents=True, exist_ok=True)
    for name, file in SHIPPED.items():
        entry = file.split("_")[1].split(".")[0]
        structure = read_structure(Path(sys.argv[1]) / f"{entry}.cif.gz")
        lines = [HEAD.format(name=name) + "".join(f"_atom_site.{column}\n" for column in COLUMNS)]
        for part in structure.sub_models:
            symbols = [gemmi.Element(int(n)).name for n in part.atoms.number]
            for n, ((z, y, x), symbol) in enumerate(zip(part.atoms.position, symbols, strict=True), 1):
                if symbol != "H":
                    place = f"{chr(65 + n // 8000)} {n // 20} {x:.1f} {y:.1f} {z:.1f}"
                    lines.append(f"{n} {symbol} {symbol} UNK . {place}\n")
        out = OUT / file
        out.write_bytes(gzip.compress("".join(lines).encode(), 9, mtime=0))
        print(f"{out.name}: {len(lines) - 1} atoms, {out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
