"""How near an engine's scores are to the reference's on one request."""

TOP = 10


def max_difference(scores, reference):
    return max(abs(a - b) for a, b in zip(scores, reference))


def kendall_tau(scores, reference):
    """Over the pairs the reference tells apart; a pair the engine ties counts for neither side."""
    pairs = balance = 0
    for i in range(len(scores)):
        for k in range(i):
            if reference[i] != reference[k]:
                product = (scores[i] - scores[k]) * (reference[i] - reference[k])
                pairs += 1
                balance += (product > 0) - (product < 0)
    return balance / pairs if pairs else 1.0


def top_kept(scores, reference):
    """How many of the reference's first ten are among the engine's first ten."""
    def top(values):
        return set(sorted(range(len(values)), key=lambda i: (-values[i], i))[:TOP])
    return len(top(scores) & top(reference))
