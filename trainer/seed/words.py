"""The vocabulary of the seed world: verbs, nouns, parameter names, people, places.

Deployments (`trainer.seed.deployment`, `examples/`) put these words together to names that the
world never draws (`RESERVED`).
"""

from __future__ import annotations


def _table(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _groups(text: str) -> tuple[tuple[str, ...], ...]:
    """Each line is one verb with its synonyms; `/` divides, so that phrases may hold spaces."""
    return tuple(tuple(line.strip().split("/")) for line in text.strip().splitlines())


VERBS = _groups(
    """
    create/make/set up
    delete/erase/get rid of
    update/change/edit
    send/mail/dispatch
    cancel/call off/drop
    find/search/look up
    list/show/display
    get/fetch/pull up
    add/put in/enter
    schedule/plan/arrange
    buy/purchase/get me
    pay/settle/clear
    check/verify/look at
    print/print out/run off
    rename/retitle/relabel
    archive/store away/put away
    share/pass on/give access to
    assign/hand over/allocate
    approve/accept/sign off
    reject/decline/turn down
    publish/release/put online
    upload/push up/put up
    download/save/pull down
    track/follow/trace
    rate/score/grade
    translate/put into another language
    convert/turn over
    count/tally/add up
    measure/take the size of
    open/open up
    close/shut/close down
    lock/seal/secure
    unlock/unseal
    start/launch/kick off
    stop/halt/end
    pause/suspend/put on hold
    resume/continue/carry on with
    enable/turn on/activate
    disable/turn off/deactivate
    notify/alert/tell
    invite/ask along
    register/sign up/enroll
    submit/turn in/file
    review/go over/look through
    record/note down/write down
    log/put on record
    move/shift/relocate
    copy/duplicate/clone
    merge/combine/join
    split/divide/break up
    attach/pin/link
    export/write out
    import/read in/load
    renew/prolong
    extend/lengthen
    refund/pay back/reimburse
    transfer/wire/move over
    charge/bill/debit
    estimate/guess/work out
    compare/match
    rank/order by value
    filter/narrow down
    sort/put in order
    summarize/sum up
    draft/sketch/write up
    sign/put a name to
    scan/read
    clean/tidy/wash
    repair/fix/mend
    inspect/examine/look over
    paint/color
    install/fit/put in place
    deploy/roll out
    restart/reboot
    restore/bring back
    remove/take out/take off
    test/try out
    build/put together
    ship/deliver/bring
    collect/gather/pick up from
    return/give back/send back
    rent/hire
    sell/list for sale
    donate/give
    teach/train
    grow/raise
    cook/prepare
    play/put on
    mute/silence
    watch/monitor/keep an eye on
    block/ban
    adjust/tune/tweak
    reset/set back
    replace/swap
    label/tag/mark
    report/flag
    recommend/suggest
    confirm/acknowledge
    """
)

NOUNS = _table(
    """
    invoice meeting task note contact event order ticket report file folder photo video song
    playlist email letter account user customer payment budget expense receipt contract project
    milestone issue comment article page website domain server database backup report_card
    survey form question answer test exam course lesson student grade book chapter recipe meal
    menu product catalog item package shipment truck route trip flight hotel seat car bike bus
    train taxi license permit policy claim loan deposit wallet coupon discount sale auction
    offer lead campaign newsletter banner advert review rating poll vote petition document
    template slide chart table sheet list board card sticker badge profile password key lock
    door window light camera sensor alarm heater fan pump valve engine battery tire part tool
    machine robot drone printer scanner phone laptop screen monitor keyboard cable router
    network channel message thread call voicemail reminder timer clock calendar shift roster
    timesheet leave vacation absence salary bonus job vacancy interview candidate applicant
    employee team department office desk building floor warehouse shelf bin box pallet stock
    supplier vendor purchase quote bid tender plot garden tree flower seed field crop harvest
    farm horse dog cat pet animal vaccine clinic doctor patient prescription dose pill symptom
    treatment surgery appointment checkup insurance bank branch transfer currency bond portfolio
    fund tax audit ledger journal entry draft story poem script scene movie show concert stage
    artist album track lyric game match player coach league score goal workout exercise gym
    membership subscription plan feature release version bug patch build branch_office commit
    pipeline cluster container volume bucket queue topic stream metric dashboard log trace
    delivery parcel stamp postcard library museum exhibit statue painting sketch photo_album
    ship boat dock harbor crane bridge road tunnel sign station platform gate passport visa
    suitcase map guidebook tent cabin park trail river lake beach mountain weather forecast
    storm warning rescue shelter donation charity volunteer lawyer court case hearing judge
    witness statement license_plate fine parking_spot garage meter bill pipe roof wall fence
    carpet sofa chair lamp_post oven fridge dish cup plate spoon knife bottle barrel wine cheese
    bread cake soup salad pizza coffee_machine tea juice snack candle soap shirt dress shoe hat
    coat ring watch bracelet gift toy puzzle balloon party wedding speech toast dance class
    """
)

ADJECTIVES = _table(
    """
    new daily weekly monthly yearly open old draft final local remote public private shared
    personal internal external main spare extra quick long short active current next last first
    second group team family company business home office summer winter digital paper master
    """
)

PARAMS: dict[str, tuple[str, ...]] = {
    "person": _table(
        """
        client customer owner author contact employee sender attendee teacher patient driver
        manager member reviewer tenant student assignee host buyer seller name full_name
        client_name customer_name contact_name player coach artist speaker organizer approver
        employee_name person user_name patient_name holder signer applicant candidate agent
        """
    ),
    "place": _table(
        """
        city location origin destination branch venue region town office_city home_city
        from_city to_city place site city_name area pickup_city warehouse_city station
        start_city end_city address_city region_name market depot port airport_city
        """
    ),
    "date": _table(
        """
        date due_date start_date end_date deadline birthday delivery_date day event_date
        invoice_date ship_date issue_date expiry_date from_date to_date until since visit_date
        order_date release_date payment_date renewal_date closing_date first_day last_day
        """
    ),
    "time": _table(
        """
        time start_time end_time opening_time closing_time meeting_time pickup_time
        delivery_time call_time from_time to_time slot_time lunch_time alarm_time begin finish
        """
    ),
    "count": _table(
        """
        quantity count seats copies people pages limit level amount_of_items number_of_people
        floors boxes units rows max_results tickets attempts rounds days_off team_size items
        points slots desks bottles chairs tables parts sheets members lines cups players
        """
    ),
    "amount": _table(
        """
        amount price budget total fee cost salary weight distance temperature rate sum
        max_price min_price deposit_amount balance volume width height depth speed score value
        target discount_rate tip weight_kg distance_km price_limit total_cost bonus_amount
        """
    ),
    "ident": _table(
        """
        order_id ticket_id invoice_number account case_number item_id user_id id number
        customer_id task_id file_id project_id order_number account_number claim_id job_id
        booking_id reference record_id employee_id product_id contract_id serial_number
        """
    ),
    "code": _table(
        """
        code order_code coupon sku reference_code part_number tracking_code batch key
        product_code ticket_code serial license_code lot asset_tag promo_code case_code
        """
    ),
    "text": _table(
        """
        title subject note message comment reason topic query label description headline
        text content body keyword heading caption summary file_name project_name list_name
        event_name product category_name section memo remark question feedback instruction
        """
    ),
    "flag": _table(
        """
        urgent notify paid private recurring express public archived pinned confirmed
        read_only encrypted verbose silent gift_wrap insured signed visible locked draft_only
        send_copy include_tax auto_renew overwrite dry_run remote final shared favorite
        """
    ),
    "duration": _table(
        """
        duration length minutes duration_minutes time_limit timeout break_length wait_time
        session_length delay interval minutes_before run_time travel_time play_time
        """
    ),
    "email": _table(
        """
        email recipient_email reply_to contact_email user_email send_to cc address
        customer_email owner_email login mail_address notify_email work_email
        """
    ),
    "labels": _table(
        """
        tags items names topics keywords labels ingredients steps files members_list colors
        languages categories skills products options files_list cities sections guests_names
        """
    ),
}
"""Parameter names by kind of value; `enum` names and their choices stand in `ENUMS`."""

ENUMS: dict[str, tuple[str, ...]] = {
    "priority": ("low", "medium", "high"),
    "size": ("small", "medium", "large"),
    "color": ("red", "green", "blue", "black", "white"),
    "status": ("open", "pending", "done"),
    "file_format": ("pdf", "csv", "xml"),
    "currency": ("euro", "dollar", "pound"),
    "language": ("english", "german", "french", "spanish"),
    "unit": ("meter", "mile", "yard"),
    "category": ("food", "travel", "rent", "other"),
    "mode": ("fast", "normal", "slow"),
    "method": ("card", "cash", "transfer"),
    "channel": ("email", "phone", "chat"),
    "frequency": ("daily", "weekly", "monthly"),
    "severity": ("minor", "major", "critical"),
    "role": ("admin", "editor", "viewer"),
    "department": ("sales", "support", "finance", "legal"),
    "plan": ("basic", "standard", "premium"),
    "season": ("spring", "summer", "autumn", "winter"),
    "direction": ("north", "south", "east", "west"),
    "shape": ("round", "square", "oval"),
    "sort_by": ("name", "price", "age"),
    "material": ("wood", "metal", "glass", "plastic"),
    "genre": ("rock", "jazz", "folk", "classical"),
    "vehicle": ("car", "van", "truck", "bike"),
    "theme": ("light", "dark", "system"),
    "shift_type": ("early", "late", "night"),
    "quality": ("draft", "good", "best"),
    "stage": ("planned", "running", "finished"),
    "payment_type": ("invoice", "debit", "prepaid"),
    "seat_class": ("economy", "business", "first"),
    "speed_level": ("slow", "steady", "quick"),
    "visibility": ("hidden", "internal", "open"),
    "weekday": ("monday", "tuesday", "friday", "sunday"),
    "flavor": ("sweet", "sour", "salty", "bitter"),
    "position": ("left", "center", "right"),
}

FIRST_NAMES = _table(
    """
    Anna Ben Clara David Emma Felix Grace Henry Ida Jack Kate Leo Maria Noah Olivia Paul Rosa
    Sam Tina Victor Wendy Alan Bella Carl Diana Eric Fiona George Hanna Ivan Julia Kevin Laura
    Mark Nina Oscar Peter Rita Simon Tom Vera Adam Beth Chris Dora Ella Frank Gina Hugo Iris
    John Karl Lena Max Nora Otto Robert Sara Theo Ursula Walter Amir Chen Fatima Hiro Ines Jamal
    Kofi Lucia Mei Omar Priya Raj Sofia Tariq Yuki Zara Mateo Elif Igor Leila
    """
)

LAST_NAMES = _table(
    """
    Smith Brown Jones Miller Davis Wilson Moore Taylor Clark Lewis Walker Hall Young King
    Wright Scott Green Baker Adams Nelson Carter Turner Parker Collins Cook Morgan Bell Murphy
    Reed Cooper Ward Gray Wood Ross Weber Meyer Wagner Becker Koch Klein Wolf Silva Santos Costa
    Rossi Bianchi Romano Garcia Lopez Perez Torres Ramos Khan Singh Patel Kumar Chen Wang Li
    Tanaka Sato Kim Park Nguyen Ali Hassan Novak Horvat Kowalski Petrov Ivanov Larsen Hansen
    Berg Lund Dubois Martin Bernard Moreau Laurent Okafor Mensah Diallo
    """
)

CITIES = _table(
    """
    London Paris Berlin Madrid Rome Vienna Prague Warsaw Lisbon Dublin Oslo Athens Zurich Geneva
    Milan Munich Hamburg Boston Chicago Denver Dallas Austin Seattle Miami Toronto Montreal
    Sydney Tokyo Kyoto Osaka Seoul Delhi Mumbai Cairo Lagos Nairobi Lima Bogota Santiago Oxford
    Leeds York Bristol Glasgow Lyon Nice Turin Naples Bergen Malmo Porto Seville Valencia Krakow
    Riga Vilnius Tallinn Sofia Zagreb Graz Basel Bern Ghent Antwerp Utrecht Delft Leipzig Bonn
    """
)

COMMON_WORDS = _table(
    """
    able about above actor addressee adult advice after again age agree aim air all also always
    anger angle answer apple apron arch area arm army arrival arrow artist ash attic auto awake
    away axe baby back bacon bad bag bake ball bamboo band bank bark barn base basket bath beam
    bean bear beautiful bed bee beer before begin bell belt bench berry best better big bike
    bird bitter black blade blanket blend blind block blood blow blue board body boil bold bolt
    bone boot borrow borrower both bottom bow bowl brain branch brass brave breakfast breath
    brick bright brother brown brush bucket bulb burn bush business busy butter button buyer
    cabin callback caller camel camp can candy canvas cap care cart carve cash castle cat cave
    cellar center chain chalk chance change charm chase cheap cheek chef chest child chin choice
    church circle city clay clean clear clerk clever cliff climb close cloth cloud coal coast
    coin cold collar comb common concierge cook copper cord cork corn corner costume cottage
    cotton count country courier cover cow crack craft crayon cream crew crime crisp cross crown
    cry curl curtain cushion dark daughter dawn day dead deal debt debtor deep deer degree
    desert dial dice diet dig dim dining dinner direction dirty dish distance dive doll donkey
    dot dough drag drawer dream drift drill drink drive driven drop drum dry duck dust duty
    eagle early earring earth earthenware east easy edge egg eight elbow elder electric empty
    end energy engine enough equal evening every evil example exit eye fabric face fact fairy
    fall family famous fan far fashion fast father fault fear feather feet fern ferry fetch
    fever fifty fig fight filing fire firing fish five flag flame flat flavor flight flock floor
    flour fog fold folk food foot force forest fork four fox frame free fresh friend frog front
    frost fruit fuel full funny fur future gallon game garlic gas gate gem ghost giant ginger
    girl glass glaze globe glove glue goat gold good goose grain grams grape grass gravel great
    green grey grip ground group guard guest guitar gum hail hair half hallway hammer hand
    handle happy harbor hard hat hay head heads health heart heat heavy heel held help hen herb
    hero high hill hint history hobby hole holiday honey hood hook hope horn host hot hour house
    hug human hundred hunt hurry ice idea ignition ink inn insect inside invite iron island
    ivory jam jar jaw jazz jelly jet jewel join joke jot juice jump jungle keen kettle kick kid
    kiln kilometers kilos kind king kitchen kite knead knee knight knob knot lace ladder lake
    lamb lamp land lane language large latch late laugh laundry law lawn lazy leaf leather left
    leg lemon lend lens letter level lid lift lights lily line linen lion lip little liver lobby
    lobster long loop lord loud lounge love low luck luggage lunch lung magic maid man mango
    marble market mask mast maze meat medal melon menu mercy mice middle mileage milk mind
    minibar mint minute mirror mix mold money month mood moon morning moss moth mother motion
    mouth mud mug mule museum mushroom music nail name nation nature navy near neck needle
    nephew nerve nest niece night nine noise noodle north nose number nurse nut oak oat ocean
    odd oil olive onion opera orange orbit organ other outside overdue overnight owl owner
    oyster pack packs pain paint pair palace palm pan pantry paper parade parcel parent parrot
    partner past paste patch peace peach pear pebble pen pepper percent piano pick pickle pie
    piece pig pillow pilot pine pink pipe pirate pizza place plain planet pleasure plot plum
    pocket point pond pony pool poor porcelain port porter potato potter pottery power praise
    present price prince prize proud pump pupil puppy purple purse push quarter queen quiet
    quilt rabbit radio rag rail rain range raw razor reason rebel reception red refill rescue
    reserve rest restock ribbon rice ride rifle right ring ripe rise risk rival river roast rob
    robe rock rocket roll room root rope rough round royal rub rude rug ruin rule rush saddle
    safe sail salad salt sand sauce sauna scale scarf school science scissors scout screw sea
    seal secret seed self sense seven shade shadow shark sheep sheet shell shine shock shop
    shore shoulder shovel shy sight silk silver simple sink sister six skate skill skin skirt
    sky sleep slice slide slope small smell smile smoke smooth snail snake snow soap social
    society sock soft soil soldier son sort sound sour south space spark spice spider spin
    splash sponge spot spray spring square stable stair stamp star stationery stay steam steel
    steep step stew stick stir stone stoneware storm stove straight straw street stripe strong
    study stuff sugar suite sun supply support swan sweet swim swing sword system tail tailor
    talk tall tame tank tape taste tea tear temple ten tender terrace theory thick thief thin
    thing thousand thread three throat throne thumb thunder tide tiger tile time tin tip tired
    toad toast toe together tomato tomorrow ton tongue tool tooth top torch total touch tour
    towel tower town toy track trade transfer trap travel tray treasure tribe trick trip trouble
    true trumpet tube tunnel turkey turtle tutor twig twin two umbrella uncle under uniform unit
    urn valley value van vase vein velvet verse vest view village vine violin visit voice wagon
    waiter wake wakeup walk wall wallet wander war warm wash waste water wave wax way wealth
    weapon weave wedding week weight welcome west whale wheat wheel whip whisper whistle white
    wide widow width wife wild wind wing winter wire wise wizard wolf woman wonder wool word
    wording work workshop world worm worry wound wrap wrapped wrist yard yarn year yellow young
    zebra zero zone
    """
)
"""Plain words for titles, notes and lists, and for names that say nothing of their use."""

RESERVED = frozenset(
    _table(
        """
        hail_courier addressee courier_city fetch_day book_callback caller dial_day talk_time
        restock_stationery supply packs rush jot_mileage kilometers driven_city drive_day
        dim_lights corner percent chase_debtor debtor debt_no wording
        fire_kiln kiln firing_day ignition_hour overnight mix_glaze potter grams shade
        reserve_wheel wheel_day wheel_hour knead_clay kilos clay_sort host_workshop tutor held_in
        workshop_day heads wrap_mug mug_no wrapped_for ribbon lend_mold mold_no borrower back_day
        ring_potter to_say
        dock_boat boat_name boat_feet dock_day lift_mast mast_no lift_hour tour_coast pilot
        coast_day refill_tank tank_sort tank_amount warm_sauna sauna_hour steam_length dry_sail
        sail_owner sail_heat pack_basket basket_friend basket_food fetch_guest guest_city
        guest_hour
        """
    )
)
"""Names of tools and parameters that only deployments have: the world never draws them."""


def vocabulary() -> frozenset[str]:
    """Return every word of the tables, small and with a capital: one token each.

    A name in a schema is small, and a request may begin with it; some houses write names small.
    """
    asked = [word for group in VERBS for verb in group for word in verb.split()]
    things = [part for noun in (*NOUNS, *ADJECTIVES) for part in noun.split("_")]
    params = [part for names in PARAMS.values() for name in names for part in name.split("_")]
    choices = [part for choice in (*ENUMS, *sum(ENUMS.values(), ())) for part in choice.split("_")]
    names = [*FIRST_NAMES, *LAST_NAMES, *CITIES]
    kept = [part for name in RESERVED for part in name.split("_")]
    every = [*asked, *things, *params, *choices, *COMMON_WORDS, *names, *kept]
    return frozenset([*map(str.lower, every), *map(str.title, every)])
