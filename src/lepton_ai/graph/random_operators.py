"""The operators whose answer is another each time."""

#: Answers that differ from call to call: two of them are not one, and none is a constant.
#: A Dropout's differ where it trains.
RANDOM = frozenset(
    {
        "Bernoulli",
        "BitmaskDropout",
        "Dropout",
        "Multinomial",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
    }
)
