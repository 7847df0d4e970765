"""Softmax attention with a bias a key in Triton, and the largest products of queries with keys.

Attention has three kernels, which add up in one order, without atomics. They are those of flash attention (Dao 2023,
arXiv 2307.08691, algorithms 1 and 2), except that queries and keys have a kernel each on the way back, so that every
gradient has one writer. Logits are in base 2. A program is a block of rows, or of columns, of one sequence's head, and
goes through all columns, or rows. With lists, these are the tokens of the blocks that ``listed`` names for the block of
BLOCK tokens around its own, of which ``counts`` says how many there are; without them BLOCK is 0.

Arguments of all kernels: tensors, each followed by its steps between sequences, heads and rows (rows are contiguous),
``bias`` by its steps between sequences, heads and keys. ``peak`` (sequences, heads, queries) is the log-sum-exp. SIZE
is that of a query, WIDTH that of a value, and PADDED a power of two that holds both.
"""
# ruff: noqa: N803  # Triton's dialect of Python: pointers have no type, constants are in capitals.

from __future__ import annotations

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)
HIDDEN = tl.constexpr(-1e6)
"""A bias of no more hides a key. It is finite, so that a log-sum-exp over hidden keys is."""
CHUNK = tl.constexpr(1024)
"""Biases that are looked at together for the last key that is seen."""


@triton.jit
def kept(seed, first_row, ROWS: tl.constexpr, columns, least):
    """(ROWS, columns) whether a weight is kept: its number, a hash of its place and the seed, is at least ``least``."""
    row = mixed((first_row + tl.arange(0, ROWS)).to(tl.uint32) * 0x9E3779B1 + seed)
    return mixed(row[:, None] ^ (columns.to(tl.uint32) * 0x85EBCA77)[None, :]) >= least


@triton.jit
def mixed(number):
    """A 32-bit number whose high bits depend on every bit of the given one (Wellons 2018, lowbias32 but its end)."""
    number = (number ^ (number >> 16)) * 0x7FEB352D
    return (number ^ (number >> 15)) * 0x846CA68B


@triton.jit
def place(block, blocks, heads):
    """Sequence and head of a program, in 64 bits, and the number of its block."""
    head = (block // blocks).to(tl.int64)
    return head // heads, head % heads, block % blocks


@triton.jit
def load_bias(bias, columns, step, keys):
    """Biases of some keys in base 2, -inf beyond the last key, and which keys are seen."""
    added = tl.load(bias + columns * step, mask=columns < keys, other=-float("inf")) * LOG2_E
    added = tl.where(columns < keys, tl.maximum(added, HIDDEN), -float("inf"))
    return added, added > HIDDEN


@triton.jit
def end_of_seen(bias, step, keys):
    """One more than the last key that is seen, 0 if none is: padding behind a sequence costs nothing."""
    end = tl.zeros([CHUNK], tl.int32)
    for first in range(0, keys, CHUNK):
        columns = first + tl.arange(0, CHUNK)
        _, seen = load_bias(bias, columns, step, keys)
        end = tl.maximum(end, tl.where(seen, columns + 1, 0))
    return tl.max(end, 0)


@triton.jit
def own_list(listed, counts, head, first, rows, columns, BLOCK: tl.constexpr):
    """The list of the block of rows that holds the row ``first``, and how many columns its blocks have."""
    number = head * tl.cdiv(rows, BLOCK) + first // BLOCK
    return listed + number * tl.cdiv(columns, BLOCK), tl.load(counts + number) * BLOCK


@triton.jit
def located(listed, number, BLOCK: tl.constexpr):
    """Where in its sequence column ``number`` of those that are gone through is."""
    if BLOCK == 0:
        return number
    else:
        return tl.load(listed + number // BLOCK) * BLOCK + number % BLOCK


@triton.jit
def load_rows(tensor, rows, step, inside, SIZE: tl.constexpr, PADDED: tl.constexpr):
    """(rows, PADDED) of a tensor; zeros in rows that are not ``inside`` and beyond SIZE."""
    size = tl.arange(0, PADDED)
    return tl.load(
        tensor + rows.to(tl.int64)[:, None] * step + size[None, :],
        mask=inside[:, None] & (size < SIZE)[None, :],
        other=0.0,
    )


@triton.jit
def store_rows(tensor, rows, step, inside, values, SIZE: tl.constexpr, PADDED: tl.constexpr):
    """The opposite of :func:`load_rows`, in the tensor's type."""
    size = tl.arange(0, PADDED)
    tl.store(
        tensor + rows.to(tl.int64)[:, None] * step + size[None, :],
        values.to(tensor.dtype.element_ty),
        mask=inside[:, None] & (size < SIZE)[None, :],
    )


@triton.jit
def forward_kernel(
    query, q_batch, q_head, q_row, key, k_batch, k_head, k_row, value, v_batch, v_head, v_row,
    bias, b_batch, b_head, b_key, output, o_batch, o_head, o_row, peak, listed, counts, seed,
    least, raised, scale, heads, queries, keys,
    SIZE: tl.constexpr, WIDTH: tl.constexpr, PADDED: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
    BLOCK: tl.constexpr, DROPS: tl.constexpr,
):  # fmt: skip
    """Outputs of a block of queries, and their log-sum-exps."""
    batch, head, block = place(tl.program_id(0), tl.cdiv(queries, ROWS), heads)
    rows = block * ROWS + tl.arange(0, ROWS)
    inside = rows < queries
    first_row = (batch * heads + head) * queries + block * ROWS
    key += batch * k_batch + head * k_head
    value += batch * v_batch + head * v_head
    bias += batch * b_batch + head * b_head
    q = load_rows(query + batch * q_batch + head * q_head, rows, q_row, inside, SIZE, PADDED)
    top = tl.full([ROWS], -float("inf"), tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    sums = tl.zeros([ROWS, PADDED], tl.float32)
    start = tl.load(seed).to(tl.uint32) if DROPS else 0
    if BLOCK:
        listed, end = own_list(listed, counts, batch * heads + head, block * ROWS, queries, keys, BLOCK)
    else:
        end = end_of_seen(bias, b_key, keys)
    for first in range(0, end, COLUMNS):
        columns = located(listed, first, BLOCK) + tl.arange(0, COLUMNS)
        added, seen = load_bias(bias, columns, b_key, keys)
        k = load_rows(key, columns, k_row, seen, SIZE, PADDED)
        logits = tl.dot(q, tl.trans(k)) * (scale * LOG2_E) + added[None, :]
        higher = tl.maximum(top, tl.max(logits, 1))
        weights = tl.exp2(logits - higher[:, None])
        shrink = tl.exp2(top - higher)
        total = total * shrink + tl.sum(weights, 1)
        if DROPS:
            weights = tl.where(kept(start, first_row, ROWS, columns, least), weights, 0.0)
        v = load_rows(value, columns, v_row, seen, WIDTH, PADDED)
        sums = tl.dot(weights.to(v.dtype), v, sums * shrink[:, None])
        top = higher
    total = tl.where(total > 0, total, 1.0)  # 0 where every key is hidden
    sums = sums * (raised / total)[:, None]
    store_rows(output + batch * o_batch + head * o_head, rows, o_row, inside, sums, WIDTH, PADDED)
    tl.store(peak + (batch * heads + head) * queries + rows, tl.maximum(top, HIDDEN) + tl.log2(total), mask=inside)


@triton.jit
def query_kernel(
    query, q_batch, q_head, q_row, key, k_batch, k_head, k_row, value, v_batch, v_head, v_row,
    bias, b_batch, b_head, b_key, output, o_batch, o_head, o_row, upstream, u_batch, u_head, u_row,
    gradient, g_batch, g_head, g_row, peak, product, of_peak, listed, counts, seed,
    least, raised, scale, heads, queries, keys,
    SIZE: tl.constexpr, WIDTH: tl.constexpr, PADDED: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
    BLOCK: tl.constexpr, DROPS: tl.constexpr,
):  # fmt: skip
    """The gradient of a block of queries, and the products of their outputs and upstream gradients.

    ``of_peak`` is the upstream gradient of the log-sum-exp, or None. It adds to each logit's gradient in proportion to
    the weight, and so is taken off the product.
    """
    batch, head, block = place(tl.program_id(0), tl.cdiv(queries, ROWS), heads)
    rows = block * ROWS + tl.arange(0, ROWS)
    inside = rows < queries
    first_row = (batch * heads + head) * queries + block * ROWS
    key += batch * k_batch + head * k_head
    value += batch * v_batch + head * v_head
    bias += batch * b_batch + head * b_head
    q = load_rows(query + batch * q_batch + head * q_head, rows, q_row, inside, SIZE, PADDED)
    u = load_rows(upstream + batch * u_batch + head * u_head, rows, u_row, inside, WIDTH, PADDED)
    o = load_rows(output + batch * o_batch + head * o_head, rows, o_row, inside, WIDTH, PADDED)
    top = tl.load(peak + (batch * heads + head) * queries + rows, mask=inside, other=float("inf"))
    inner = tl.sum(o.to(tl.float32) * u.to(tl.float32), 1)
    if of_peak is not None:
        inner -= tl.load(of_peak + (batch * heads + head) * queries + rows, mask=inside, other=0.0) * LOG2_E
    tl.store(product + (batch * heads + head) * queries + rows, inner, mask=inside)
    sums = tl.zeros([ROWS, PADDED], tl.float32)
    start = tl.load(seed).to(tl.uint32) if DROPS else 0
    if BLOCK:
        listed, end = own_list(listed, counts, batch * heads + head, block * ROWS, queries, keys, BLOCK)
    else:
        end = end_of_seen(bias, b_key, keys)
    for first in range(0, end, COLUMNS):
        columns = located(listed, first, BLOCK) + tl.arange(0, COLUMNS)
        added, seen = load_bias(bias, columns, b_key, keys)
        k = load_rows(key, columns, k_row, seen, SIZE, PADDED)
        v = load_rows(value, columns, v_row, seen, WIDTH, PADDED)
        weights = tl.exp2(tl.dot(q, tl.trans(k)) * (scale * LOG2_E) + added[None, :] - top[:, None])
        change = tl.dot(u, tl.trans(v))
        if DROPS:
            change = tl.where(kept(start, first_row, ROWS, columns, least), change * raised, 0.0)
        sums = tl.dot((weights * (change - inner[:, None])).to(k.dtype), k, sums)
    store_rows(gradient + batch * g_batch + head * g_head, rows, g_row, inside, sums * scale, SIZE, PADDED)


@triton.jit
def key_kernel(
    query, q_batch, q_head, q_row, key, k_batch, k_head, k_row, value, v_batch, v_head, v_row,
    bias, b_batch, b_head, b_key, upstream, u_batch, u_head, u_row,
    key_gradient, kg_batch, kg_head, kg_row, value_gradient, vg_batch, vg_head, vg_row, bias_gradient,
    peak, product, listed, counts, seed, least, raised, scale, heads, queries, keys,
    SIZE: tl.constexpr, WIDTH: tl.constexpr, PADDED: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
    BLOCK: tl.constexpr, DROPS: tl.constexpr,
):  # fmt: skip
    """The gradients of a block of keys, of their values and of their biases (sequences, heads, keys)."""
    batch, head, block = place(tl.program_id(0), tl.cdiv(keys, COLUMNS), heads)
    columns = block * COLUMNS + tl.arange(0, COLUMNS)
    added, seen = load_bias(bias + batch * b_batch + head * b_head, columns, b_key, keys)
    k = load_rows(key + batch * k_batch + head * k_head, columns, k_row, seen, SIZE, PADDED)
    v = load_rows(value + batch * v_batch + head * v_head, columns, v_row, seen, WIDTH, PADDED)
    query += batch * q_batch + head * q_head
    upstream += batch * u_batch + head * u_head
    peak += (batch * heads + head) * queries
    product += (batch * heads + head) * queries
    key_sums = tl.zeros([COLUMNS, PADDED], tl.float32)
    value_sums = tl.zeros([COLUMNS, PADDED], tl.float32)
    bias_sums = tl.zeros([COLUMNS], tl.float32)
    start = tl.load(seed).to(tl.uint32) if DROPS else 0
    end = queries
    if BLOCK:
        listed, end = own_list(listed, counts, batch * heads + head, block * COLUMNS, keys, queries, BLOCK)
    for number in range(0, tl.where(tl.max(seen.to(tl.int32), 0) > 0, end, 0), ROWS):
        first = located(listed, number, BLOCK)
        rows = first + tl.arange(0, ROWS)
        inside = rows < queries
        q = load_rows(query, rows, q_row, inside, SIZE, PADDED)
        u = load_rows(upstream, rows, u_row, inside, WIDTH, PADDED)
        top = tl.load(peak + rows, mask=inside, other=float("inf"))
        inner = tl.load(product + rows, mask=inside, other=0.0)
        weights = tl.exp2(tl.dot(k, tl.trans(q)) * (scale * LOG2_E) + added[:, None] - top[None, :])
        change = tl.dot(v, tl.trans(u))
        counted = weights
        if DROPS:
            keep = tl.trans(kept(start, (batch * heads + head) * queries + first, ROWS, columns, least))
            counted = tl.where(keep, weights * raised, 0.0)
            change = tl.where(keep, change * raised, 0.0)
        value_sums = tl.dot(counted.to(u.dtype), u, value_sums)
        change = weights * (change - inner[None, :])
        key_sums = tl.dot(change.to(q.dtype), q, key_sums)
        bias_sums += tl.sum(change, 1)
    inside = columns < keys
    key_sums = tl.where(seen[:, None], key_sums * scale, 0.0)
    value_sums = tl.where(seen[:, None], value_sums, 0.0)
    store_rows(key_gradient + batch * kg_batch + head * kg_head, columns, kg_row, inside, key_sums, SIZE, PADDED)
    store_rows(value_gradient + batch * vg_batch + head * vg_head, columns, vg_row, inside, value_sums, WIDTH, PADDED)
    tl.store(bias_gradient + (batch * heads + head) * keys + columns, tl.where(seen, bias_sums, 0.0), mask=inside)


@triton.jit
def largest_kernel(
    query, q_batch, q_head, q_row, key, k_batch, k_head, k_row, largest, heads, queries, keys,
    SIZE: tl.constexpr, PADDED: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """The largest product of each of a block of queries with the keys, (sequences, heads, queries)."""
    batch, head, block = place(tl.program_id(0), tl.cdiv(queries, ROWS), heads)
    rows = block * ROWS + tl.arange(0, ROWS)
    q = load_rows(query + batch * q_batch + head * q_head, rows, q_row, rows < queries, SIZE, PADDED)
    key += batch * k_batch + head * k_head
    top = tl.full([ROWS], -float("inf"), tl.float32)
    for first in range(0, keys, COLUMNS):
        columns = first + tl.arange(0, COLUMNS)
        k = load_rows(key, columns, k_row, columns < keys, SIZE, PADDED)
        products = tl.where((columns < keys)[None, :], tl.dot(q, tl.trans(k)), -float("inf"))
        top = tl.maximum(top, tl.max(products, 1))
    tl.store(largest + (batch * heads + head) * queries + rows, top, mask=rows < queries)
