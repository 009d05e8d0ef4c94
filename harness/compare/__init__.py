"""Compare runs item by item: what changed, how certain that is, and how several systems rank.

In: folders of finished runs (`store.runs`, `store.samples`). Out: a `RunComparison` of two systems, a `Leaderboard` of several with its
`Ranking`, and the data behind figures. Nothing here draws or prints; where two things cannot be compared, a `NotComparable` says why.
"""
