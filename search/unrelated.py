"""Words and sentences that nobody asked for, about all sorts of things: what they score is what words score by chance.

Plain nouns, scenes as people describe pictures, and what people ask and write. Changing them moves every verdict on a search in words a little.
"""

_WORDS = (
    "apple anchor ankle arrow avalanche axe baby bakery balloon barn basketball beach bear bed bee bell blanket boat bone book"
    " bottle bread brick broom bus cabbage cactus cake camel camera candle carpet carrot cat cheese cherry chess church"
    " clarinet cloud coat coin compass cow crab crown curtain desert diamond dice doctor dog door dragon duck eagle egg"
    " envelope fence fish flag flute fork forest fountain fox frog glove goat grape guitar hat hospital horse ice island"
    " jacket kettle key kitchen kite knife ladder lamp lemon letter lion lizard lock map medal mirror money monkey moon"
    " mountain mushroom needle nest newspaper ocean office onion orange oven owl painting paper parrot pencil phone picnic"
    " pillow plate pond potato purse rabbit rain restaurant ring river road robot rocket rope rose ruler sailor salt sandwich"
    " scarf school scissors sheep shelf shoe singer snake snow soap soldier soup spoon stadium stairs statue storm stove"
    " strawberry street sugar sword table teacher telescope tent theatre tiger tomato tooth towel tower toy train tree"
    " trumpet truck turtle vase village wagon wall whale wheel wheat window wine wolf worm zipper"
)
WORDS = _WORDS.split()
SCENES = """\
a man plays the trumpet on a stage
two children build a castle of sand
a tiger sleeps under a tree
snow lies on the roofs of a village
an old woman sells apples at a market
a helicopter lands on a hospital
divers swim among coral and fish
a candle burns beside an open book
workers lay bricks at a building site
a ballerina waits behind a curtain
sheep graze on a green hill
a rocket leaves its launch pad
a doctor looks at an x-ray picture
a crowd watches a football match
a lighthouse stands on a rocky coast
a chess player thinks about his move
a bowl of soup on a wooden table
a train crosses a stone bridge
a girl in a red coat holds a balloon
camels walk through the desert
a carpenter saws a plank
a cat looks out of the window
fireworks above a harbour at night
a teacher writes on the blackboard
a bee sits on a yellow flower
an empty swimming pool in the sun
a family has dinner in the kitchen
a knight in armour on a horse
a microscope in a laboratory
a tractor ploughs a field
a waterfall in a dark forest
boys play basketball in the street
a violin lies in its case
a ship breaks through the ice
a barber cuts a man's hair
parrots sit on a branch
a broken car beside the road
a choir sings in a church
a hand holds three coins
a fox runs across the snow
the dashboard of an aeroplane
a bride throws her flowers
a robot in a factory welds a door
a baby sleeps in a cradle
a statue of a lion in front of a museum
a tent beside a mountain lake
a pile of old newspapers
a spider in its web
a dentist and her patient
a sailing boat in a storm
a shop window full of hats
a snail on a wet leaf
two wrestlers in a ring
a volcano throws out lava
a potter shapes a vase
an owl in the dark
a marching band with drums
a jar of honey and a spoon
a soldier waves from a tank
a map with a compass on it""".splitlines()
REMARKS = """\
where can I buy a second-hand piano
my tomatoes have yellow leaves
the concert was louder than I expected
how long do I have to boil an egg
she moved to the countryside last spring
what is the capital of Mongolia
the old lift is out of order again
can you recommend a good dentist nearby
he scored twice in the second half
why do cats purr when they sleep
the soup tasted of nothing but salt
I forgot my umbrella on the bus
when does the museum open on Sundays
the new bridge will be finished in autumn
how do I get ink out of a shirt
their second album is much better than the first
is it safe to swim in the lake
the engine makes a strange noise when it is cold
which vaccine does my puppy need
we walked along the river until it got dark
the committee will vote on the proposal in May
do bees sleep in winter
I would like to learn how to knit a scarf
this novel has too many characters
how many players are there in a rugby team
the roof leaks when it rains from the west
can I grow lemons indoors
the flight to Oslo leaves at noon
my neighbour plays the drums at night
what does this medicine do to the liver
the children built a hut in the forest
how far away is the nearest star
the hotel was clean but the beds were hard
who wrote the music for this film
a cold front brings snow to the mountains
my back hurts when I sit for too long
the archaeologists found a wall from Roman times
is there a train to the airport after midnight
how do I teach my daughter to ride a bicycle
the printer is out of paper""".splitlines()
