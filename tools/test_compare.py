"""What compare.py claims, and what it does not: python3 -m unittest discover -s tools"""

import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

TOOLS = Path(__file__).resolve().parent
SETTINGS = {"model": "small", "device": "cpu", "precision": "f32", "seq_len": 256, "micro_batch": 8, "accumulation": 1, "threads": 2}


def record(implementation, median, name="train small", load=0.0, **settings):
    return {
        "name": name, "settings": SETTINGS | {"implementation": implementation} | settings, "samples": [median],
        "summary": {"median": median}, "derived": {"tokens_per_s": 2048 / median, "foreign_load": load},
    }


def ours(*medians, **more):
    return [record("rewarm", median, **more) for median in medians]


def theirs(*medians, **more):
    return [record("hf-eager", median, **more) for median in medians]


class Compare(unittest.TestCase):
    def run_on(self, text, *options, name="train.jsonl"):
        """compare.py on a folder with one file."""
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / name).write_text(text)
            return subprocess.run([sys.executable, TOOLS / "compare.py", folder, *options], capture_output=True, text=True)

    def rows(self, found):
        done = self.run_on("".join(json.dumps(item) + "\n" for item in found), "--json")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return json.loads(done.stdout)

    def refused(self, text, *words, **more):
        """One error, no table, no traceback."""
        done = self.run_on(text, **more)
        self.assertEqual((done.returncode, done.stdout), (1, ""), done.stderr)
        self.assertTrue(done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)

    def test_a_ratio_is_the_peers_time_over_ours_pass_by_pass(self):
        [row] = self.rows([*ours(1.0), *theirs(2.0), *ours(1.1), *theirs(2.2)])
        self.assertEqual(row["ratios"], [2.0, 2.0])
        self.assertEqual((row["name"], row["peer"], row["model"], row["threads"]), ("train small", "hf-eager", "small", 2))
        self.assertEqual((row["ours_s"], row["peer_s"]), (1.05, 2.1))
        self.assertAlmostEqual(row["ours_tokens_per_s"], (2048 + 2048 / 1.1) / 2)
        [row] = self.rows([*ours(1.0), *theirs(2.0), *ours(1.25), *theirs(1.5)])
        self.assertEqual(row["ratios"], [2.0, 1.2])

    def test_spreads_are_slowest_over_fastest(self):
        [row] = self.rows([*ours(1.0, 1.05), *theirs(2.2, 2.0)])
        self.assertAlmostEqual(row["spread_ours"], 0.05)
        self.assertAlmostEqual(row["spread_peer"], 0.1)

    def test_a_difference_is_more_than_twice_the_larger_spread_in_every_pass(self):
        # A spread of 5 % asks for more than 10 %, whichever side it is on.
        for theirs_s, verdict in [((1.11, 1.17), "faster"), ((1.09, 1.15), "no difference shown"), ((0.90, 0.94), "slower"),
                                  ((0.92, 0.96), "no difference shown"), ((1.2, 1.1), "no difference shown")]:
            with self.subTest(theirs_s):
                [row] = self.rows([*ours(1.0, 1.05), *theirs(*theirs_s)])
                self.assertEqual(row["verdict"], verdict, row)
        [row] = self.rows([*ours(1.11, 1.12), *theirs(1.0, 1.05)])
        self.assertEqual(row["verdict"], "no difference shown")
        [row] = self.rows([*ours(1.17, 1.18), *theirs(1.0, 1.05)])
        self.assertEqual(row["verdict"], "slower")

    def test_one_pass_and_a_busy_machine_claim_nothing(self):
        [row] = self.rows([*ours(1.0), *theirs(9.0)])
        self.assertIn("nothing claimed", row["verdict"])
        # The peer did not finish its second pass.
        [row] = self.rows([*ours(1.0, 1.0), *theirs(9.0)])
        self.assertIn("one pass", row["verdict"])
        for load, verdict in [(0.11, "busy machine: nothing claimed"), (0.1, "faster"), (None, "faster")]:
            [row] = self.rows([*ours(1.0, 1.0), *theirs(9.0), *theirs(9.0, load=load)])
            self.assertEqual(row["verdict"], verdict)

    def test_only_equal_settings_are_compared(self):
        others = {"precision": "P1", "device": "cuda:0", "model": "large", "seq_len": 512, "micro_batch": 4, "accumulation": 2, "threads": 1}
        self.assertEqual(others.keys(), SETTINGS.keys())
        whole = [*ours(1.0, 1.0), *theirs(2.0, 2.0)]
        for key, value in others.items():
            with self.subTest(key):
                [row] = self.rows([*whole, *theirs(0.1, 0.1, **{key: value})])
                self.assertEqual(row["ratios"], [2.0, 2.0])
        [row] = self.rows([*whole, *theirs(0.1, name="train other")])
        self.assertEqual(row["ratios"], [2.0, 2.0])
        # Both classes on both sides: a row each.
        rows = self.rows([*whole, *ours(1.0, precision="P1"), *theirs(3.0, precision="P1")])
        self.assertEqual([(r["precision"], r["ratios"]) for r in rows], [("f32", [2.0, 2.0]), ("P1", [3.0])])

    def test_the_fastest_peer_is_the_best_one(self):
        compiled = [record("neox-compile", 1.5), record("neox-compile", 1.6)]
        rows = self.rows([*ours(1.0, 1.0), *theirs(2.0, 2.0), *compiled])
        self.assertEqual([(r["peer"], r["best_peer"]) for r in rows], [("hf-eager", False), ("neox-compile", True)])
        text = "".join(json.dumps(item) + "\n" for item in [*ours(1.0, 1.0), *theirs(2.0, 2.0), *compiled])
        table = self.run_on(text).stdout.splitlines()
        self.assertEqual(len(table), 4)
        self.assertIn("| train small | T256 B8, f32 | hf-eager | 2,048 tokens/s | 1,024 tokens/s | 2.00 – 2.00 |", table[2])
        self.assertIn("**neox-compile**", table[3])

    def test_what_is_no_record_is_left_out(self):
        text = "".join(json.dumps(item) + "\n" for item in [*ours(1.0), *theirs(2.0)])
        done = self.run_on("loading\n" + text + '{"file":"train","status":"ok"}\n')
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_nothing_to_compare_is_an_error(self):
        text = json.dumps(ours(1.0)[0]) + "\n"
        self.refused(text, "nothing to compare", "rewarm")
        self.refused(json.dumps(theirs(1.0)[0]) + "\n", "nothing to compare")
        self.refused(text, "no records", name="train.txt")
        done = subprocess.run([sys.executable, TOOLS / "compare.py", "/nowhere.jsonl"], capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr), (1, "error: no records: /nowhere.jsonl\n"))

    def test_a_broken_record_is_one_error_with_its_place(self):
        good = json.dumps(ours(1.0)[0])
        self.refused(f"{good}\n{good[:-9]}\n", "train.jsonl line 2", "not JSON")
        for key in ("name", "settings", "summary", "derived"):
            broken = {k: v for k, v in ours(1.0)[0].items() if k != key}
            self.refused(f"{good}\n{json.dumps(broken)}\n", "train.jsonl line 2", key)
        for median in ("null", "0", "NaN", '"1"', "-1"):
            broken = good.replace('"median": 1.0', f'"median": {median}')
            self.refused(f"{broken}\n", "train.jsonl line 1", "median")


if __name__ == "__main__":
    unittest.main()
