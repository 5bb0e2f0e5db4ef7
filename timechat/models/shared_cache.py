"""Keys and values of rows that are written together, where the rows of a group share the beginning of their prompts.

A group is one sequence: the common prefix, then what each row has of its own, then the rows' new tokens as they come. A
row sees the prefix and its own places; the others are hidden from it. So the prefix is there once and is read once a
step for all rows of its group, and no row is padded to the length of another; only groups are.

Shapes: G groups, R rows of the largest group, C places of a group that are allocated, L places that are in use, B rows
of all groups, h heads, k heads of keys and values, d width of a head.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

_SPARE = 64  # places that are allocated ahead, at least; else a quarter, so that a place is rarely copied


class SharedCache:
    """The rows that are being written. Their order is that of the numbers that the caller gave them.

    Args:
        groups: how many there may be at a time.
        places: how many the longest of them needs at first; more are allocated when they are needed.
    """

    def __init__(self, groups: int, places: int):
        self._most, self._places = groups, places + _SPARE
        self._groups: list[list[int]] = []  # the numbers of their rows
        self._used: list[int] = []  # places of each group
        self._stores: list[Tensor] = []  # of each layer, keys and values: [2, most groups, k, C, d]
        self._hidden = torch.empty(0, 0, 0)  # [G, R, C]: -inf where a row must not see a place, else 0

    @property
    def rows(self) -> list[int]:
        """The numbers of all rows."""
        return sorted(row for group in self._groups for row in group)

    @property
    def device(self) -> torch.device:
        """Where the rows are."""
        return self._hidden.device

    # Groups come, rows go ---------------------------------------------------------------------------------------------

    def add(self, rows: Sequence[int], layers: Sequence[Tensor], visible: Tensor) -> None:
        """A group that has read its prompts.

        Args:
            rows: numbers of its rows, which no other row has.
            layers: keys and values of each layer, [2, L, k, d].
            visible: bool [rows, L], the places that each row sees.
        """
        used = visible.shape[1]
        self._make_room(used)
        if not self._stores:
            _, _, heads, width = layers[0].shape
            # Zeros, because 0 x NaN would be NaN where a place is hidden.
            self._stores = [layer.new_zeros(2, self._most, heads, self._places, width) for layer in layers]
        for store, layer in zip(self._stores, layers, strict=True):
            store[:, len(self._groups), :, :used] = layer.transpose(1, 2)
        hidden = layers[0].new_full((len(rows), self._places), -torch.inf)
        hidden[:, :used].masked_fill_(visible, 0.0)
        self._groups.append(list(rows))
        self._used.append(used)
        self._hidden = pad_sequence([*self._hidden, hidden], batch_first=True)
        self._arrange()

    def keep(self, rows: Collection[int]) -> None:
        """Forget all rows but these, and the groups that have none left."""
        lanes = [[lane for lane, row in enumerate(group) if row in rows] for group in self._groups]
        groups = [group for group, left in enumerate(lanes) if left]
        for new, old in enumerate(groups):  # never moved back, so none is overwritten before it has moved
            if new != old:
                for store in self._stores:
                    store[:, new] = store[:, old]
        hidden = [self._hidden[group, lanes[group]] for group in groups]
        self._hidden = pad_sequence(hidden, batch_first=True) if hidden else self._hidden[:0]
        self._groups = [[self._groups[group][lane] for lane in lanes[group]] for group in groups]
        self._used = [self._used[group] for group in groups]
        self._arrange()

    def _make_room(self, places: int) -> None:
        if places <= self._places:
            return
        more = places - self._places + max(_SPARE, places // 4)
        self._places += more
        for number, store in enumerate(self._stores):
            self._stores[number] = F.pad(store, (0, 0, 0, more))
        self._hidden = F.pad(self._hidden, (0, more), value=-torch.inf)

    def _arrange(self) -> None:
        """Where each row of the batch is, and where its next token goes."""
        rows, device = self.rows, self._hidden.device
        where = {row: (g, lane) for g, group in enumerate(self._groups) for lane, row in enumerate(group)}
        places = [(*where[row], self._used[where[row][0]] + where[row][1]) for row in rows]
        self._group, self._lane, self._next = torch.tensor(places, device=device).reshape(-1, 3).T
        self._new, self._seen = self._next.clone(), self._hidden.new_zeros(())
        self._step = torch.tensor([len(self._groups[where[row][0]]) for row in rows], device=device)
        widest = max(map(len, self._groups), default=0)
        order = [number for group in self._groups for number in (group + group[:1] * widest)[:widest]]
        # Queries in the order of groups, where smaller ones repeat a row; None where that is the order of the batch.
        self._queries = None if order == rows else torch.tensor([rows.index(row) for row in order], device=device)
        self._answers = self._group * widest + self._lane

    # One step ---------------------------------------------------------------------------------------------------------

    def reserve(self) -> bool:
        """See that there is a place for the next token of each row; whether the places had to be moved for that.

        All that a step needs to know of the host; what follows it, `advance` and `attend`, is the device's alone.
        """
        before = self._places
        self._used = [used + len(group) for used, group in zip(self._used, self._groups, strict=True)]
        self._make_room(max(self._used))
        return self._places != before

    def advance(self, *, whole: bool = False) -> None:
        """Go on to the place of each row's next token.

        Args:
            whole: let rows attend to all places that are allocated, so that every step has the same shapes; those that
                are not in use are hidden.
        """
        self._new.copy_(self._next)
        self._next += self._step
        self._hidden.index_put_((self._group, self._lane, self._new), self._seen)
        self._mask = self._hidden[:, None, :, : self._places if whole else max(self._used)]

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Keep the new keys and values [B, k, d], and let queries [B, h, d] attend to what their rows see.

        Returns:
            [B, h, d].
        """
        store = self._stores[layer]
        store[:, self._group, :, self._new] = torch.stack([key, value], dim=1)
        keys, values = store[:, : len(self._groups), :, : self._mask.shape[3]]
        query = query if self._queries is None else query[self._queries]
        # The heads that share keys stand beside the rows, as all of them attend to the same places.
        groups, heads, width = len(self._groups), keys.shape[1], query.shape[2]
        query = query.reshape(groups, -1, heads, query.shape[1] // heads, width).permute(0, 2, 3, 1, 4).flatten(2, 3)
        mask = self._mask
        if query.shape[2] != mask.shape[2]:
            mask = mask.repeat(1, 1, query.shape[2] // mask.shape[2], 1)
        out = F.scaled_dot_product_attention(query, keys, values, attn_mask=mask)
        out = out.unflatten(2, (-1, self._mask.shape[2])).permute(0, 3, 1, 2, 4).flatten(2, 3).flatten(0, 1)
        return out if self._queries is None else out[self._answers]
