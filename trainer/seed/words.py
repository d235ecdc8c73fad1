"""The vocabulary of the seed world: verbs, nouns, parameter names, people, places.

Deployments (`trainer.seed.deployment`, `examples/`) use words that are not in these tables.
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
    about above after again air all also always apple area arm army away baby back bad ball bank
    base basket bath bear beautiful bed before begin bell belt best better big bird black block
    blood blue body bone both bottom brain branch brave breakfast bright brother brown brush
    business busy butter button buyer camp can care castle center chain chance change cheap
    child choice church circle city clear clever climb close cloth cloud cold common copper
    corner cotton country cover cow cream crime cross cry dark daughter day dead deep degree
    dinner direction dirty distance dream drink drive dry dust early earth east easy edge egg
    eight electric empty end energy enough equal evening every example eye face fact fall family
    famous far fast father fear feather feet fifty fight fire fish five flag flat flight floor
    fold food foot force forest fork four free fresh friend front fruit full funny future girl
    glass gold good grain grass great green grey ground group guest hair half hand happy hard
    head health heart heat heavy help high history hole holiday honey hope horn hot hour house
    human hundred ice idea inside iron island jelly join joke jump kind king kitchen knee land
    language large late laugh laundry law leaf left leg lemon letter level lift line lion little
    long loud love low luggage lunch luck man market meat middle milk mind minute mirror money
    month moon morning mother motion mouth music nail name nation near neck needle nerve nest
    night nine noise north nose number nut ocean oil onion orange other outside owner pain pair
    pan paper past peace pen pepper piece pig pillow place pleasure pocket point porter potato
    power present price prize quiet rain range reason red rest rice right rise river rock room
    root rope round rub rule safe salt sand school science sea secret self sense seven sheep
    silk silver simple sister six skin sky sleep small smell smile smoke smooth snow social
    society soft son sound south space spring square star steam steel step stone straight
    street strong sugar sun support sweet swim system tail tall taste ten theory thick thin
    thing thousand three thumb thunder time tin tired toe together tomorrow tongue tooth top
    total touch tour towel tower town trade travel trouble true two umbrella under unit value
    velvet view village voice waiter wake walk war warm waste water wave way week weight west
    wheel white wide wife wild wind wing winter wire woman word work world worm wool year yellow
    young zero blanket chef concierge lobby lounge pool sauna suite welcome arrival cottage
    dining menu minibar night pantry reception sheet stay terrace transfer wakeup zone
    """
)
"""Plain words for titles, notes and lists; they also put common English into the tokenizer."""
