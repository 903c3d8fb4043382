#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Checks the solver against OR-tools and prints both side by side.

Needs OR-tools from PyPI (pip install ortools). Run from anywhere in the
repository:

    python3 crates/knapsack/oracle/compare.py

Every instance of the benchmarks is solved by both in this one run, each timed
in CPU time of its thread. OR-tools solves with its branch and bound, and where
that does not end within its time limit, its answer is only a lower bound. Any
contradiction (ours proved, theirs optimal, and not the same value; or either
better than what the other proved) is printed, and the exit status is 1.
"""

import argparse
import collections
import json
import statistics
import subprocess
import sys
import time

from ortools.algorithms.python import knapsack_solver

RUNS = 10  # of OR-tools, at most
QUICK_MICROS = 20_000  # what takes longer is run once


def solve_with_or_tools(instance, limit_seconds):
    """The kept value, whether it is optimal, and the microseconds it took.

    OR-tools settles most items while it is handed the instance (its reduction),
    and searches the rest when it is asked to solve. Both are solving; handing over
    is not, and is measured by an instance that it is told not to reduce. Of quick
    ones the quickest of several runs counts, as of ours.
    """
    solved = handed_over = float("inf")
    for _ in range(RUNS):
        solver, micros = hand_over(instance, reduce=False)
        handed_over = min(handed_over, micros)
        solver, reduced = hand_over(instance, reduce=True)
        solver.set_time_limit(limit_seconds)
        start = time.thread_time()
        value = solver.solve()
        micros = reduced + (time.thread_time() - start) * 1e6
        solved = min(solved, micros)
        if micros > QUICK_MICROS:
            break
    return value, solver.is_solution_optimal(), max(solved - handed_over, 0)


def hand_over(instance, reduce):
    """A solver that has the instance, and the microseconds it took."""
    kind = knapsack_solver.SolverType.KNAPSACK_MULTIDIMENSION_BRANCH_AND_BOUND_SOLVER
    solver = knapsack_solver.KnapsackSolver(kind, "oracle")
    solver.set_use_reduction(reduce)
    start = time.thread_time()
    solver.init(instance["values"], [instance["weights"]], [instance["capacity"]])
    return solver, (time.thread_time() - start) * 1e6


def pruned_greedy(instance):
    """The value given up by greedy: the least value per weight first until
    enough is given back, and then whatever of it, the best first, is not
    needed."""
    need = sum(instance["weights"]) - instance["capacity"]
    items = [item for item in zip(instance["weights"], instance["values"]) if item[0]]
    items.sort(key=lambda item: (item[1] / item[0], item[0]))
    return pruned(items, need)


def largest_first(instance):
    """The value given up by ending the largest until enough is given back."""
    need = sum(instance["weights"]) - instance["capacity"]
    items = sorted(zip(instance["weights"], instance["values"]), reverse=True)
    given_back = value = 0
    for item_weight, item_value in items:
        if given_back >= need:
            break
        given_back += item_weight
        value += item_value
    return value


def pruned(items, need):
    given_back, given_up = 0, []
    for item in items:
        if given_back >= need:
            break
        given_back += item[0]
        given_up.append(item)
    value = 0
    for weight, item_value in reversed(given_up):
        if given_back - weight >= need:
            given_back -= weight
        else:
            value += item_value
    return value


def contradiction(ours, value, optimal):
    """What does not fit together, if anything."""
    if ours["value_proved"] and optimal and value != ours["kept_value"]:
        return "both claim the optimum"
    if value > ours["kept_value"] + ours["gap"]:
        return "OR-tools is above our upper bound"
    if optimal and ours["kept_value"] > value:
        return "we are above OR-tools' optimum"
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="only classes whose name contains this")
    parser.add_argument("--most-items", type=int, default=10_000,
                        help="OR-tools is given no larger instances (default: %(default)s)")
    parser.add_argument("--limit-seconds", type=float, default=1.0,
                        help="OR-tools' time limit for each instance (default: %(default)s)")
    parser.add_argument("--budget-ms", type=int, default=10,
                        help="our CPU time for each instance (default: %(default)s)")
    options = parser.parse_args()

    command = ["cargo", "run", "--quiet", "--release", "-p", "knapsack", "--example", "measure",
               "--", "--json", "--only", options.only, "--budget-ms", str(options.budget_ms)]
    groups = collections.OrderedDict()
    contradictions = checked = 0
    greedy, largest = collections.defaultdict(list), collections.defaultdict(list)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as measured:
        for line in measured.stdout:
            ours = json.loads(line)
            scale = f", R = {ours['scale']}" if ours["family"] == "class" else ""
            group = groups.setdefault((ours["class"] + scale, ours["items"]), [])
            least = sum(ours["values"]) - ours["kept_value"]
            if ours["family"] == "table" and ours["value_proved"] and least:
                greedy[ours["items"]].append(pruned_greedy(ours) / least)
                largest[ours["items"]].append(largest_first(ours) / least)
            theirs = None
            if ours["items"] <= options.most_items:
                value, optimal, micros = solve_with_or_tools(ours, options.limit_seconds)
                theirs = (micros, optimal)
                checked += optimal and ours["value_proved"]
                problem = contradiction(ours, value, optimal)
                if problem:
                    contradictions += 1
                    print(f"{problem}: {ours['class']}, {ours['items']} items, scale "
                          f"{ours['scale']}, {ours['capacity_percent']} %: "
                          f"{ours['kept_value']} + {ours['gap']}, {value}", file=sys.stderr)
            group.append((ours, theirs))
    if measured.returncode != 0:
        sys.exit(f"the measurement ended with status {measured.returncode}")

    print("| instances | items | value, µs | and ties, µs | at most, µs | value proved "
          "| ties proved | worst gap | OR-tools, µs | OR-tools proved | times faster |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    ratios = collections.defaultdict(list)
    for (name, items), group in groups.items():
        ours = [entry for entry, _ in group]
        theirs = [entry for _, entry in group if entry]
        value = statistics.median(entry["micros_value"] for entry in ours)
        ties = statistics.median(entry["micros_ties"] for entry in ours)
        most = max(entry["micros_ties"] for entry in ours)
        gap = max(entry["gap"] / max(entry["kept_value"], 1) for entry in ours)
        proved = sum(entry["value_proved"] for entry in ours)
        ties_proved = sum(entry["ties_proved"] for entry in ours)
        row = [name, items, f"{value:.1f}", f"{ties:.1f}", f"{most:.1f}",
               f"{proved}/{len(ours)}",
               f"{ties_proved}/{len(ours)}", f"{gap:.1e}" if gap else "0"]
        if theirs:
            micros = statistics.median(entry[0] for entry in theirs)
            optimal = sum(entry[1] for entry in theirs)
            # Both the same question: the value alone.
            ratio = statistics.median(entry[0] / mine["micros_value"]
                                      for mine, entry in group if entry)
            ratios[(ours[0]["family"], items)] += [
                entry[0] / mine["micros_value"] for mine, entry in group if entry]
            row += [f"{micros:.0f}", f"{optimal}/{len(theirs)}", f"{ratio:.0f}"]
        else:
            row += ["–", "–", "–"]
        print("| " + " | ".join(str(cell) for cell in row) + " |")
    print()
    for (family, items), values in ratios.items():
        print(f"{family}, {items} items: OR-tools takes {statistics.median(values):.0f} times "
              f"as long (median of {len(values)} instances)")
    for items, values in greedy.items():
        others = largest[items]
        print(f"tables of {items}: greedy gives up {statistics.mean(values):.4f} times the least "
              f"value (at worst {max(values):.3f}), the largest first "
              f"{statistics.mean(others):.1f} (at worst {max(others):.0f})")
    print(f"{checked} instances proved by both, {contradictions} contradictions")
    return 1 if contradictions else 0


if __name__ == "__main__":
    sys.exit(main())
