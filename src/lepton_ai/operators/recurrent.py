"""Recurrent networks: one cell that is run along a sequence, forwards, backwards or both."""

from lepton_ai.operators.accumulation import accumulated
from lepton_ai.operators.gates import Floats, Texts, gate_functions
from lepton_ai.operators.namespace import Tensor
from lepton_ai.operators.operator import Call, operator
from lepton_ai.operators.recurrence import Cell, Direction, State, run, sequences_of


@operator("RNN")
@accumulated
def rnn(
    call: Call,
    x: Tensor,
    weight: Tensor,
    recurrent: Tensor,
    bias: Tensor | None = None,
    sequence_lens: Tensor | None = None,
    initial_h: Tensor | None = None,
    *,
    activation_alpha: Floats = None,
    activation_beta: Floats = None,
    activations: Texts = None,
    clip: float | None = None,
    direction: str = "forward",
    hidden_size: int | None = None,
    layout: int = 0,
    output_sequence: int = 0,
) -> State:
    """A state that is an activation of the input and of the state before."""

    def cell(own: Direction) -> Cell:
        (f,) = own.activations
        return lambda state, gates: (f(gates + own.from_state(state[0]) + own.recurrent_bias),)

    xp = call.xp
    scaling = (activation_alpha, activation_beta)
    sequence = sequences_of(xp, x, sequence_lens, layout, direction)
    functions = gate_functions(sequence, activations, ["Tanh"], scaling, clip)
    parts = (weight, recurrent, bias, None)
    return run(sequence, parts, [initial_h], functions, cell, gates=1)


@operator("GRU")
@accumulated
def gru(
    call: Call,
    x: Tensor,
    weight: Tensor,
    recurrent: Tensor,
    bias: Tensor | None = None,
    sequence_lens: Tensor | None = None,
    initial_h: Tensor | None = None,
    *,
    activation_alpha: Floats = None,
    activation_beta: Floats = None,
    activations: Texts = None,
    clip: float | None = None,
    direction: str = "forward",
    hidden_size: int | None = None,
    layout: int = 0,
    linear_before_reset: int = 0,
    output_sequence: int = 0,
) -> State:
    """A gated recurrent unit; its gates are update, reset and hidden, in this order.

    With ``linear_before_reset`` the reset gate acts on what the weights make of the state, and
    otherwise on the state itself.
    """
    xp = call.xp
    size = recurrent.shape[-1]
    first, last = slice(0, 2 * size), slice(2 * size, 3 * size)

    def cell(own: Direction) -> Cell:
        f, g = own.activations
        both, hidden_bias = own.recurrent_bias[first], own.recurrent_bias[last]

        def step(state: State, gates: Tensor) -> State:
            (before,) = state
            open_ = f(gates[:, first] + own.from_state(before, first) + both)
            update, reset = open_[:, :size], open_[:, size:]
            if linear_before_reset:
                past = reset * (own.from_state(before, last) + hidden_bias)
            else:
                past = own.from_state(reset * before, last) + hidden_bias
            hidden = g(gates[:, last] + past)
            return ((1 - update) * hidden + update * before,)

        return step

    scaling = (activation_alpha, activation_beta)
    sequence = sequences_of(xp, x, sequence_lens, layout, direction)
    functions = gate_functions(sequence, activations, ["Sigmoid", "Tanh"], scaling, clip)
    parts = (weight, recurrent, bias, None)
    return run(sequence, parts, [initial_h], functions, cell, gates=3)


@operator("LSTM")
@accumulated
def lstm(
    call: Call,
    x: Tensor,
    weight: Tensor,
    recurrent: Tensor,
    bias: Tensor | None = None,
    sequence_lens: Tensor | None = None,
    initial_h: Tensor | None = None,
    initial_c: Tensor | None = None,
    peepholes: Tensor | None = None,
    *,
    activation_alpha: Floats = None,
    activation_beta: Floats = None,
    activations: Texts = None,
    clip: float | None = None,
    direction: str = "forward",
    hidden_size: int | None = None,
    input_forget: int = 0,
    layout: int = 0,
    output_sequence: int = 0,
) -> State:
    """A long short-term memory; its gates are input, output, forget and cell, in this order."""
    xp = call.xp
    size = recurrent.shape[-1]

    def cell(own: Direction) -> Cell:
        f, g, h = own.activations
        to_input, to_output, to_forget = own.peepholes or (0, 0, 0)

        def step(state: State, gates: Tensor) -> State:
            before, memory = state
            gates = gates + own.from_state(before) + own.recurrent_bias
            i, o, forget, c = (gates[:, k * size : (k + 1) * size] for k in range(4))
            i = f(i + to_input * memory)
            kept = 1 - i if input_forget else f(forget + to_forget * memory)
            memory = kept * memory + i * g(c)
            return f(o + to_output * memory) * h(memory), memory

        return step

    scaling = (activation_alpha, activation_beta)
    sequence = sequences_of(xp, x, sequence_lens, layout, direction)
    functions = gate_functions(sequence, activations, ["Sigmoid", "Tanh", "Tanh"], scaling, clip)
    parts = (weight, recurrent, bias, peepholes)
    return run(sequence, parts, [initial_h, initial_c], functions, cell, gates=4)
