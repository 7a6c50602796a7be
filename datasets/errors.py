"""The three ways in which the domain says no. Each message is one sentence that a person can act on."""


class Refused(Exception):
    """The request cannot be carried out as asked (a bad value, a wrong file, an impossible combination)."""


class Conflict(Refused):
    """The request was fine, but what it acts on has changed or is already done."""


class Forbidden(Refused):
    """The person is a member of the dataset, but their role does not allow this."""


class Missing(Refused):
    """The thing does not exist, or belongs to a dataset that the person is no member of."""
