"""Two folders of text for a strong shift: the same documentation in English and in German, from Debian packages.

    python3 examples/studies/languages.py DIR        writes DIR/english and DIR/german, a text file per page

Needs Python 3.9 and nothing else. 150 MB of packages are fetched, their SHA-256 are compared with those below, and nothing of them
is executed. DEBIAN_MIRROR names another mirror; what Debian has replaced by newer versions is kept by
https://snapshot.debian.org/archive/debian/20261130T000000Z, which can stand there, too.

Licences: GPL-2+ (Debian's guides and the handbook), MPL-2.0 (LibreOffice's help), GFDL-1.2+ (GIMP's help).
"""
import hashlib
import html.parser
import io
import os
import pathlib
import re
import sys
import tarfile
import urllib.error
import urllib.request

MIRROR = os.environ.get("DEBIAN_MIRROR", "https://deb.debian.org/debian")

# Path in the pool, SHA-256, and what the path of a page of each language contains.
PACKAGES = [
    ("libr/libreoffice/libreoffice-help-en-us_7.4.7-1+deb12u14_all.deb",
     "8faa840285734d6cfe1ed25537b48f07e74bd6412e3917bf8e5f8a653f7b3712", {"english": ""}),
    ("libr/libreoffice/libreoffice-help-de_7.4.7-1+deb12u14_all.deb",
     "00490b63c509ac96f7f212d6a6e40452d3e0d1f97ccf4b824dd5ec4c01e8277f", {"german": ""}),
    ("g/gimp-help/gimp-help-en_2.10.34-2_all.deb",
     "a2deec76763aaf2fcdd197bac0736cdcb0770ba993d48d233329e1c92b0bfe36", {"english": ""}),
    ("g/gimp-help/gimp-help-de_2.10.34-2_all.deb",
     "06d1f51828e0c68d373bbdd0d34c695e6405062143cd612407cd0fcf9531c199", {"german": ""}),
    ("d/debian-reference/debian-reference-en_2.100_all.deb",
     "9f31d3a17df505de09689ca255512ea58c1fc47c59bb1b0c7bf1c23362e9743f", {"english": ""}),
    ("d/debian-reference/debian-reference-de_2.100_all.deb",
     "3b0ce65fd63e75ddf8eb07ca36293425135080e690a07e06a6ac8bc8040ef0aa", {"german": ""}),
    ("d/developers-reference/developers-reference_12.18_all.deb",
     "0dba82f6fa16e373f2a84ad07e7971aa9264ad2e7d2ae46b37edbc9c5fd57e2e", {"english": ""}),
    ("d/developers-reference/developers-reference-de_12.18_all.deb",
     "281f0c2b24139e0ac83117c3e95b60458a6644fe14c82cf9ea78e87ea8c175d7", {"german": ""}),
    ("d/debian-faq/debian-faq_11.1_all.deb",
     "427426e0cfa6888622fc1d72631071cb4b5a1f86ccde722e7820bcef284de5d0", {"english": ""}),
    ("d/debian-faq/debian-faq-de_11.1_all.deb",
     "e9a8d8234f4b182660d521f80f50cea87f797b4541005a3d64fab7777766f6de", {"german": ""}),
    ("m/maint-guide/maint-guide_1.2.53_all.deb",
     "762c8a400a36668d2eb814a3ba356b06488fd889dfce478eb11d5cfb189a47b5", {"english": ""}),
    ("m/maint-guide/maint-guide-de_1.2.53_all.deb",
     "821afc6b85ffe9cbc9b7acbcdd5876ccbb855c3876ee5524d21602fd41d979c1", {"german": ""}),
    ("d/debian-handbook/debian-handbook_11.20220922_all.deb",
     "3d5dbeac1f1afc9c094eab9d0f701f6ecff99c4927d5a4794cf6c85678134faa",
     {"english": "/html/en-US/", "german": "/html/de-DE/"}),
]


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = pathlib.Path(sys.argv[1])
    pages = {"english": {}, "german": {}}
    for path, digest, parts in PACKAGES:
        package = fetch(path, digest)
        for language, part in parts.items():
            found = {name: text_of(page) for name, page in pages_of(package) if part in name}
            print(f"{path.rsplit('/', 1)[1]}: {len(found)} pages, {language}")
            pages[language].update(found)
    # What both languages have is not translated, or no language at all; what a page repeats is navigation.
    lines = {language: {line for page in of.values() for line in page} for language, of in pages.items()}
    shared = lines["english"] & lines["german"]
    for language, of in pages.items():
        write(folder / language, of, set(shared))


def fetch(path, digest):
    """A package of the mirror; ends the program where it is not there or not the same."""
    url = f"{MIRROR}/pool/main/{path}"
    try:
        with urllib.request.urlopen(url.replace("+", "%2b"), timeout=60) as answer:
            package = answer.read()
    except (OSError, urllib.error.URLError) as error:
        sys.exit(f"{url}: {error}; is it still on this mirror? Set DEBIAN_MIRROR, for example to a day of snapshot.debian.org")
    found = hashlib.sha256(package).hexdigest()
    if found != digest:
        sys.exit(f"{url} has SHA-256 {found}, expected {digest}: the texts would be others")
    return package


def pages_of(package):
    """Names and contents of the HTML pages of a .deb: an ar archive with data.tar.xz in it (deb(5))."""
    at = 8
    while at < len(package):
        name, size = package[at:at + 16].decode().strip(" /"), int(package[at + 48:at + 58])
        if name.startswith("data.tar"):
            with tarfile.open(fileobj=io.BytesIO(package[at + 60:at + 60 + size])) as files:
                for file in files:
                    if file.isfile() and file.name.endswith(".html"):
                        yield file.name, files.extractfile(file).read().decode("utf-8", "replace")
        at += 60 + size + size % 2


class Reader(html.parser.HTMLParser):
    """What somebody who looks at a page reads: paragraphs and items as lines, preformatted text as it is."""

    BREAKS = set("p div li dt dd tr td th h1 h2 h3 h4 h5 h6 pre br table section title".split())
    UNSEEN = set("script style head nav header footer button select noscript".split())

    def __init__(self):
        super().__init__()
        self.lines, self.line, self.unseen, self.verbatim = [], "", 0, 0

    def end_line(self):
        for line in self.line.splitlines() if self.verbatim else [" ".join(self.line.split())]:
            if re.search(r"\w", line):
                self.lines.append(line.rstrip())
        self.line = ""

    def handle_starttag(self, tag, attrs):
        if tag in self.BREAKS:
            self.end_line()
        self.unseen += tag in self.UNSEEN
        self.verbatim += tag == "pre"

    def handle_endtag(self, tag):
        if tag in self.BREAKS:
            self.end_line()
        self.unseen = max(0, self.unseen - (tag in self.UNSEEN))
        self.verbatim = max(0, self.verbatim - (tag == "pre"))

    def handle_data(self, data):
        if not self.unseen:
            self.line += data


def text_of(page):
    reader = Reader()
    reader.feed(page)
    reader.close()
    reader.end_line()
    return reader.lines


def write(folder, pages, seen):
    """A file per page, of lines that no page before had; pages of which little is left are left out."""
    folder.mkdir(parents=True, exist_ok=True)
    files, size = 0, 0
    for name in sorted(pages):
        new = [line for line in dict.fromkeys(pages[name]) if line not in seen]
        seen.update(new)
        text = "\n".join(new) + "\n"
        if len(text) >= 200:
            (folder / (re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-.") + ".txt")).write_text(text, encoding="utf-8")
            files, size = files + 1, size + len(text.encode())
    print(f"{folder}: {size / 1e6:.2f} MB in {files} files")


main()
