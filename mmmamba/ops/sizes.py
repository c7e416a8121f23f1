"""Integer arithmetic of launches. Triton's own functions, made for kernels too, take 10 us a call on the host."""


def cdiv(a: int, b: int) -> int:
    """``a / b``, rounded up."""
    return -(-a // b)


def next_power_of_2(n: int) -> int:
    """The smallest power of 2 that is not below ``n >= 1``."""
    return 1 << (n - 1).bit_length()
