"""What the keys of an inference state give; a write that would be lost is refused."""

from abc import abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, MutableMapping
from typing import Any, NoReturn

from sam2.object_track import Track
from sam2.session import Session


class StateError(TypeError):
    """Something in the state that cannot be written; the message says what to do instead."""


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise StateError(
        "This is a copy of what the state holds, so the change would be lost: use the methods of "
        "the predictor (reset_state, remove_object, clear_all_prompts_in_frame)."
    )


class ReadOnly(dict[Any, Any]):
    """A dict that cannot be changed; copies of it can."""

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[type, tuple[dict[Any, Any]]]:
        return dict, ({**self},)


class ObjectIds(list[Hashable]):
    """The objects in the order of the logits; it can be cleared, which forgets them."""

    append = extend = insert = pop = remove = sort = reverse = _refuse
    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse

    def __init__(self, session: Session) -> None:
        super().__init__(session.tracks)
        self.session = session

    def clear(self) -> None:
        """Forgets all objects."""
        self.session.reset()
        super().clear()

    def __reduce__(self) -> tuple[type, tuple[list[Hashable]]]:
        return list, ([*self],)


class ObjectPlaces(ReadOnly):
    """The objects and their places in the logits; it can be cleared, which forgets them."""

    def __init__(self, session: Session, places: Iterable[tuple[Hashable, Hashable]]) -> None:
        super().__init__(places)
        self.session = session

    def clear(self) -> None:  # type: ignore[override]  # the one change not refused
        """Forgets all objects."""
        self.session.reset()
        dict.clear(self)


class ByObject(Mapping[int, Mapping[Any, Any]]):
    """Something of all objects, by their places in the logits; read afresh at each look."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def __getitem__(self, index: int) -> Mapping[Any, Any]:
        if index not in range(len(self)):
            raise KeyError(index)
        return ReadOnly(self._at(index))

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self)))

    def __len__(self) -> int:
        return len(self.session.tracks)

    @abstractmethod
    def _at(self, index: int) -> dict[Any, Any]: ...


class ObjectFrames(ByObject):
    """What was said of the objects on their frames, or where they were followed to."""

    def __init__(self, session: Session, of: Callable[[Session, Track], dict[int, Any]]) -> None:
        super().__init__(session)
        self.of = of

    def clear(self) -> None:
        """Does nothing, for it goes with its object: programs clear all values at their end."""

    def _at(self, index: int) -> dict[int, Any]:
        return self.of(self.session, [*self.session.tracks.values()][index])


class CachedFeatures(MutableMapping[int, Any]):
    """The features at hand, by frame; they can be dropped, and are made again when needed."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def __getitem__(self, frame: int) -> Any:
        return self.session.features[frame]

    def __setitem__(self, frame: int, features: Any) -> None:
        raise StateError(
            "Features can be read and dropped, but not written: they are made when needed."
        )

    def __delitem__(self, frame: int) -> None:
        del self.session.features[frame]

    def __iter__(self) -> Iterator[int]:
        return iter(self.session.features)

    def __len__(self) -> int:
        return len(self.session.features)
