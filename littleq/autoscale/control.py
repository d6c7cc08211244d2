"""The app that `littleq controller` runs where it is given none: the scaling actor, and what littleq.toml says.

Importing it sets up Dramatiq's global broker, as the module of any app does. A fleet whose service levels are given in
Python, not in a file, has its own module run instead: `littleq controller shop.tasks`.
"""

from littleq.autoscale.actor import declare_scaling_actor
from littleq.stack import setup

broker = setup()
decide = declare_scaling_actor(broker)
