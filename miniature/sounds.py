"""A synthesiser for each thing that can be heard.

Each takes a random generator, a number of samples and a sampling rate in Hz, and returns float64 samples in about
[-1, 1]. The sounds differ in pitch, harmonics, noise and rhythm as the real ones do.
"""

from collections.abc import Callable

import numpy as np
from scipy.signal import butter, fftconvolve, sosfilt

Synthesiser = Callable[[np.random.Generator, int, int], np.ndarray]


def _noise(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.random(n) * 2 - 1


def _band(x: np.ndarray, low: float, high: float, sampling_rate: int) -> np.ndarray:
    """Band-pass between two frequencies in Hz; a bound of 0 or above Nyquist is left open."""
    nyquist = sampling_rate / 2
    if low <= 0:
        return sosfilt(butter(2, high / nyquist, "low", output="sos"), x)
    if high >= nyquist:
        return sosfilt(butter(2, low / nyquist, "high", output="sos"), x)
    return sosfilt(butter(2, (low / nyquist, high / nyquist), "band", output="sos"), x)


def _harmonics(frequency: np.ndarray, amplitudes: list[float], sampling_rate: int) -> np.ndarray:
    """A tone with the given frequency (Hz, one value for each sample) and amplitudes of its harmonics."""
    phase = 2 * np.pi * np.cumsum(frequency) / sampling_rate
    waves = [a * np.sin((k + 1) * phase) for k, a in enumerate(amplitudes)]
    return np.asarray(sum(waves)) / sum(amplitudes)


def _hits(rng: np.random.Generator, n: int, sampling_rate: int, every: tuple[float, float]) -> list[int]:
    """Starts of repeated events, in samples; the gap is drawn once, with a little swing on each."""
    gap = rng.uniform(*every) * sampling_rate
    starts, start = [], rng.uniform(0, 0.5) * gap
    while start < n:
        starts.append(int(start))
        start += gap * rng.uniform(0.9, 1.1)
    return starts


def _repeat(n: int, starts: list[int], event: Callable[[], np.ndarray]) -> np.ndarray:
    out = np.zeros(n)
    for start in starts:
        e = event()[: n - start]
        out[start : start + len(e)] += e
    return out


def _time(seconds: float, sampling_rate: int) -> np.ndarray:
    return np.arange(int(seconds * sampling_rate)) / sampling_rate


def _swell(t: np.ndarray) -> np.ndarray:
    return np.sin(np.pi * np.arange(len(t)) / max(len(t), 1)) ** 0.5


def bell(rng: np.random.Generator, n: int, sampling_rate: int) -> np.ndarray:
    """Strikes with inharmonic partials that ring out."""
    f, t = rng.uniform(700, 1000), _time(1.2, sampling_rate)
    partials = [(0.5, 1.0, 3), (1.0, 1.0, 4), (1.2, 0.6, 5), (2.0, 0.8, 6), (2.76, 0.5, 8), (5.4, 0.3, 12)]
    ring = sum(a * np.sin(2 * np.pi * f * r * t) * np.exp(-d * t) for r, a, d in partials) / 3
    return _repeat(n, _hits(rng, n, sampling_rate, (0.6, 0.9)), lambda: ring)


def drum(rng: np.random.Generator, n: int, sampling_rate: int) -> np.ndarray:
    """Low thumps with a short noise of the skin."""
    f, t = rng.uniform(70, 110), _time(0.3, sampling_rate)
    sweep = np.sin(2 * np.pi * (f * t + 8 * (1 - np.exp(-30 * t)) / 3)) * np.exp(-12 * t)
    skin = _band(_noise(rng, len(t)), 100, 900, sampling_rate) * np.exp(-40 * t)
    return _repeat(n, _hits(rng, n, sampling_rate, (0.25, 0.4)), lambda: sweep + skin)


def dog(rng: np.random.Generator, n: int, sampling_rate: int) -> np.ndarray:
    """Short rough barks that rise and fall in pitch."""
    f, t = rng.uniform(380, 520), _time(0.16, sampling_rate)

    def bark() -> np.ndarray:
        pitch = f * rng.uniform(0.95, 1.05) * (1.3 - 4 * np.abs(t - 0.05))
        rough = _band(_noise(rng, len(t)), 500, 2200, sampling_rate) * 0.8
        return (_harmonics(pitch, [0.7, 1, 0.9, 0.5, 0.3], sampling_rate) + rough) * _swell(t)

    return _repeat(n, _hits(rng, n, sampling_rate, (0.4, 0.6)), bark)


def cat(rng: np.random.Generator, n: int, sampling_rate: int) -> np.ndarray:
    """Long harmonic meows that glide up and down."""
    f, t = rng.uniform(520, 650), _time(0.8, sampling_rate)

    def meow() -> np.ndarray:
        glide = f * (1 + 0.5 * np.sin(np.pi * t / 0.8) ** 2 - 0.15 * t)
        return _harmonics(glide, [0.6, 1, 0.8, 0.5, 0.4, 0.2], sampling_rate) * _swell(t)

    return _repeat(n, _hits(rng, n, sampling_rate, (1.0, 1.3)), meow)


def bird(rng: np.random.Generator, n: int, sampling_rate: int) -> np.ndarray:
    """Quick high chirps that sweep down."""
    f, t = rng.uniform(3600, 4600), _time(0.09, sampling_rate)

    def chirp() -> np.ndarray:
        return np.sin(2 * np.pi * np.cumsum(f * (1.25 - 5 * t)) / sampling_rate) * _swell(t)

    return _repeat(n, _hits(rng, n, sampling_rate, (0.14, 0.2)), chirp) * 0.8


def car(rng: np.random.Generator, n: int, sampling_rate: int) -> np.ndarray:
    """Honks of two brassy tones."""
    f, t = rng.uniform(330, 390), _time(0.55, sampling_rate)
    brassy = [1, 0.9, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
    horn = sum(_harmonics(np.full(len(t), f * r), brassy, sampling_rate) for r in (1, 1.26))
    horn *= np.minimum(1, np.minimum(t, t[::-1]) * 60)
    return _repeat(n, _hits(rng, n, sampling_rate, (0.75, 1.0)), lambda: horn) * 0.8


def siren(rng: np.random.Generator, n: int, sampling_rate: int) -> np.ndarray:
    """One wailing tone that sweeps up and down."""
    t = np.arange(n) / sampling_rate
    sweep = 1000 + 420 * np.sin(2 * np.pi * (rng.uniform(0.5, 0.9) * t + rng.random()))
    return _harmonics(sweep, [1, 0.3, 0.2], sampling_rate) * 0.8


def clock(rng: np.random.Generator, n: int, sampling_rate: int) -> np.ndarray:
    """Ticks and tocks, four each second."""
    t = _time(0.03, sampling_rate)
    pitches = [rng.uniform(2300, 2700), rng.uniform(1700, 2000)]
    count = iter(range(n))

    def tick() -> np.ndarray:
        tone = np.sin(2 * np.pi * pitches[next(count) % 2] * t) * np.exp(-150 * t)
        return tone + _band(_noise(rng, len(t)), 3000, 6500, sampling_rate) * np.exp(-300 * t)

    return _repeat(n, _hits(rng, n, sampling_rate, (0.22, 0.28)), tick)


def frog(rng: np.random.Generator, n: int, sampling_rate: int) -> np.ndarray:
    """Croaks: a tone in quick pulses."""
    f, t = rng.uniform(420, 560), _time(0.35, sampling_rate)
    pulses = np.maximum(0, np.sin(2 * np.pi * rng.uniform(32, 42) * t)) ** 4
    croak = _harmonics(np.full(len(t), f), [1, 0.5, 0.7, 0.2], sampling_rate) * pulses * _swell(t) * 1.5
    return _repeat(n, _hits(rng, n, sampling_rate, (0.5, 0.75)), lambda: croak)


def cow(rng: np.random.Generator, n: int, sampling_rate: int) -> np.ndarray:
    """Long low moos."""
    f, t = rng.uniform(120, 160), _time(1.1, sampling_rate)

    def moo() -> np.ndarray:
        pitch = f * (1 + 0.25 * np.minimum(t / 0.3, 1) - 0.25 * np.maximum(0, t - 0.7))
        return _harmonics(pitch, [0.8, 1, 0.9, 0.6, 0.5, 0.2, 0.1], sampling_rate) * _swell(t) * 1.2

    return _repeat(n, _hits(rng, n, sampling_rate, (1.3, 1.6)), moo)


def fire(rng: np.random.Generator, n: int, sampling_rate: int) -> np.ndarray:
    """Crackling snaps over a low rumble."""
    t = _time(0.01, sampling_rate)
    starts = np.sort(rng.integers(0, n, int(rng.uniform(28, 40) * n / sampling_rate))).tolist()
    snap = np.exp(-500 * t)
    crackle = _repeat(n, starts, lambda: rng.uniform(0.2, 1) * _noise(rng, len(t)) * snap)
    return _band(crackle, 800, 7500, sampling_rate) * 2 + _band(_noise(rng, n), 40, 250, sampling_rate) * 0.25


def rain(rng: np.random.Generator, n: int, sampling_rate: int) -> np.ndarray:
    """A steady high hiss."""
    hiss = _band(_noise(rng, n), rng.uniform(1500, 2500), 7800, sampling_rate)
    return hiss * 0.35


def wind(rng: np.random.Generator, n: int, sampling_rate: int) -> np.ndarray:
    """Gusts of noise in the middle."""
    t = np.arange(n) / sampling_rate
    gusts = 0.55 + 0.45 * np.sin(2 * np.pi * (rng.uniform(0.3, 0.6) * t + rng.random()))
    return _band(_noise(rng, n), 250, 700, sampling_rate) * gusts * 2


def thunder(rng: np.random.Generator, n: int, sampling_rate: int) -> np.ndarray:
    """A roll of very low noise that dies away."""
    t = np.arange(n) / sampling_rate
    roll = np.exp(-1.2 * t) * (0.7 + 0.3 * np.sin(2 * np.pi * rng.uniform(4, 7) * t))
    return _band(_noise(rng, n), 0, 120, sampling_rate) * roll * 5


def engine(rng: np.random.Generator, n: int, sampling_rate: int) -> np.ndarray:
    """A steady low hum with many harmonics."""
    frequency = np.full(n, rng.uniform(45, 60))
    return _harmonics(frequency, [0.5, 1, 0.8, 0.9, 0.6, 0.7, 0.4, 0.3, 0.3, 0.2], sampling_rate) * 0.9


SYNTHESISERS: dict[str, Synthesiser] = {
    "bell": bell, "drum": drum, "dog": dog, "cat": cat, "bird": bird, "car": car, "siren": siren,
    "clock": clock, "frog": frog, "cow": cow, "fire": fire, "rain": rain,
    "wind": wind, "thunder": thunder, "engine": engine,
}  # fmt: skip


def mix(
    events: list[tuple[str, float, float, float]], seconds: float, sampling_rate: int, reverb: float,
    rng: np.random.Generator,
) -> np.ndarray:  # fmt: skip
    """The audio of a clip.

    Args:
        events: name, start and end in seconds, and gain of each thing that is heard.
        seconds: length of the clip.
        sampling_rate: in Hz.
        reverb: level of a short reverberation; 0 for none.
        rng: draws everything that is not in `events`.

    Returns:
        (T,) int16.
    """
    n = int(seconds * sampling_rate)
    out = _noise(rng, n) * 0.002
    for name, start, end, gain in events:
        first, last = int(start * sampling_rate), int(end * sampling_rate)
        edge = np.minimum(
            1, np.minimum(np.arange(last - first), np.arange(last - first)[::-1]) / (0.01 * sampling_rate)
        )
        out[first:last] += gain * edge * SYNTHESISERS[name](rng, last - first, sampling_rate)
    if reverb:
        tail = _time(0.3, sampling_rate)
        out += reverb * fftconvolve(out, _noise(rng, len(tail)) * np.exp(-15 * tail) / 8)[:n]
    return np.rint(np.tanh(out * 0.5) * 32000).astype(np.int16)
